"""Virtual environments of the peers: each pinned by hash, made once in the cache folder, apart from our own.

A lock is written with `uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url
--no-header --no-annotate NAME.in --output-file NAME.lock` in `benchmarks/engine/peers`. Only wheels are taken: a peer
that has none for this Python is reported as missing instead of being built for minutes.
"""

import hashlib
import re
import shutil
import sys
import sysconfig
from enum import StrEnum
from pathlib import Path

from infra.native.commands import CommandError, run
from infra.native.exclusive import exclusive
from infra.native.progress import Progress

LOCKS = Path(__file__).with_name("peers")


class Environment(StrEnum):
    """Whose Python a contender runs in."""

    OURS = "ours"
    FAUST = "faust"
    QUIX = "quix"
    BYTEWAX = "bytewax"


class PeerMissingError(Exception):
    """A peer cannot be installed here; the text says why."""


def python_of(environment: Environment, cache: Path, progress: Progress) -> Path:
    """The interpreter of an environment, which is made when it is not there yet.

    The folder's name holds Python's version and a digest of the lock, so that neither meets an old folder.

    Raises:
        PeerMissingError: it cannot be installed.
    """
    if environment is Environment.OURS:
        return Path(sys.executable)
    lock = LOCKS / f"{environment}.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = cache / "peers" / f"{environment}-py{sysconfig.get_python_version().replace('.', '')}-{digest}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    waiting = "another process installs peers; waiting for it"
    with (
        progress.step(f"installing {environment}") as step,
        exclusive(cache / "peers.lock", on_wait=lambda: progress.note(waiting)),
    ):
        if ready.exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)  # half made
        install = ["pip", "sync", "--require-hashes", "--only-binary", ":all:", "--python", python, lock]
        try:
            run([_uv(), "venv", "--python", sys.executable, folder], with_errors=True)
            run([_uv(), *install], on_line=step.say, with_errors=True)
        except CommandError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise PeerMissingError(_cause(str(error))) from error
        ready.touch()
    return python


def pinned_versions() -> dict[str, str]:
    """The peers that are compared, each with the version that its input names."""
    pins = "".join(path.read_text() for path in sorted(LOCKS.glob("*.in")))
    return dict(re.findall(r"^([a-z-]+)(?:\[[a-z,]+\])?==(\S+)$", pins, flags=re.MULTILINE))


def _uv() -> Path:
    import uv

    return Path(uv.find_uv_bin())


def _cause(said: str) -> str:
    if "no wheel" in said or "no usable wheels" in said or "no compatible" in said.lower():
        return f"no wheel for Python {sysconfig.get_python_version()}"
    return f"not installed: {said.splitlines()[-1].strip() if said.strip() else 'uv said nothing'}"
