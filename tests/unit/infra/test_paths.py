"""Where the stack keeps things."""

from pathlib import Path

import pytest

from infra.native.paths import cache_folder, home_folder


def test_own_variables_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MEMSTREAM_CACHE and MEMSTREAM_HOME are taken as they are, made absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSTREAM_CACHE", "mine")
    monkeypatch.setenv("MEMSTREAM_HOME", str(tmp_path / "other"))

    assert cache_folder() == tmp_path / "mine"
    assert home_folder() == tmp_path / "other"


def test_xdg_folders_are_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without variables of ours, both lie in the XDG folders under our name."""
    for name in ("MEMSTREAM_CACHE", "MEMSTREAM_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/cache")
    monkeypatch.setenv("XDG_DATA_HOME", "/x/data")

    assert cache_folder() == Path("/x/cache/memstream")
    assert home_folder() == Path("/x/data/memstream")


def test_the_home_folder_is_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any variable, both lie where XDG puts them by default."""
    for name in ("MEMSTREAM_CACHE", "MEMSTREAM_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")

    assert cache_folder() == Path("/home/somebody/.cache/memstream")
    assert home_folder() == Path("/home/somebody/.local/share/memstream")
