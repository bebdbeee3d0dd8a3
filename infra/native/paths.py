"""Where the stack keeps things: one cache per user, one home per set of data."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of everything that can be fetched again: toolchains, jars, the Weaviate binary.

    `MEMSTREAM_CACHE`, else `memstream` in the XDG cache folder.
    """
    return _folder("MEMSTREAM_CACHE", "XDG_CACHE_HOME", ".cache")


def home_folder() -> Path:
    """Return the folder of everything that cannot be fetched again: data, state files, logs.

    `MEMSTREAM_HOME`, else `memstream` in the XDG data folder.
    """
    return _folder("MEMSTREAM_HOME", "XDG_DATA_HOME", ".local/share")


def _folder(own: str, xdg: str, below_home: str) -> Path:
    if chosen := os.environ.get(own):
        return Path(chosen).expanduser().resolve()
    base = os.environ.get(xdg)
    return (Path(base) if base else Path.home() / below_home) / "memstream"
