"""Weaviate's source is the pinned one, or nothing of it is compiled."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from infra.native import weaviate_build
from infra.native.errors import BuildError, ChecksumError, StackError
from infra.native.progress import Silent
from infra.native.weaviate_build import binary, binary_path, read_lock

GO = """\
#!{python}
import json, os, pathlib, sys
words = sys.argv[1:]
if words == ["version"]:
    print("go version go1.26.8 linux/amd64")
elif words[:2] == ["mod", "download"]:
    source = pathlib.Path(os.environ["GOMODCACHE"], "source")
    source.mkdir(parents=True)
    print(json.dumps({{"Path": words[3], "Sum": {sum!r}, "Dir": str(source)}}))
elif words[0] == "list":
    print("one\\ntwo")
elif words[0] == "build":
    pathlib.Path({marker!r}).write_text(" ".join(words))
    if {fails}:
        sys.exit("does not compile")
    pathlib.Path(words[words.index("-o") + 1]).write_text("server")
"""


class World(NamedTuple):
    """A cache and a Go that plays its part."""

    cache: Path
    marker: Path


def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, module_sum: str, fails: bool = False) -> World:
    """Put a Go into PATH that claims this module sum, and notes that it compiled."""
    marker = tmp_path / "compiled"
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO.format(python=sys.executable, sum=module_sum, marker=str(marker), fails=fails))
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent))
    return World(tmp_path / "cache", marker)


def test_the_pinned_source_is_built_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pinned sum the server is built with frozen dependencies, kept by version, and the scratch is gone."""
    here = world(tmp_path, monkeypatch, module_sum=read_lock().module_sum)

    built = binary("system", here.cache, Silent())

    assert built == here.cache / "weaviate-v1.39.2" / "weaviate-server"
    assert built.read_text() == "server"
    assert "-mod=readonly" in here.marker.read_text()
    assert sorted(path.name for path in here.cache.iterdir()) == ["build.lock", "weaviate-v1.39.2"]


def test_another_source_is_refused_before_anything_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with another sum than the pinned one is an error, and no line of it is compiled."""
    here = world(tmp_path, monkeypatch, module_sum="h1:somethingelse")

    with pytest.raises(ChecksumError, match="h1:somethingelse"):
        binary("system", here.cache, Silent())

    assert not here.marker.exists()
    assert [path.name for path in here.cache.iterdir()] == ["build.lock"]


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not compile is told with the compiler's words, and leaves no half-built server."""
    here = world(tmp_path, monkeypatch, module_sum=read_lock().module_sum, fails=True)

    with pytest.raises(BuildError, match="does not compile"):
        binary("system", here.cache, Silent())

    assert not binary_path(here.cache).exists()
    assert [path.name for path in here.cache.iterdir()] == ["build.lock"]


def test_leftovers_of_a_killed_build_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gigabytes of a build that was killed go with the next one."""
    here = world(tmp_path, monkeypatch, module_sum=read_lock().module_sum)
    (here.cache / "weaviate-build-killed" / "modules").mkdir(parents=True)

    binary("system", here.cache, Silent())

    assert not (here.cache / "weaviate-build-killed").exists()


def test_a_server_in_the_cache_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start needs neither Go nor the network."""
    monkeypatch.setenv("PATH", "")
    built = binary_path(tmp_path)
    built.parent.mkdir(parents=True)
    built.write_text("server")

    assert binary("system", tmp_path, Silent()) == built


def test_a_full_disk_is_told_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little space is an error at once, not after minutes."""
    here = world(tmp_path, monkeypatch, module_sum=read_lock().module_sum)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=10**9))

    with pytest.raises(StackError, match=r"4\.5 GB .*1\.0 GB are free"):
        binary("system", here.cache, Silent())

    assert not here.marker.exists()


def test_the_lock_file_pins_one_module() -> None:
    """The lock has a version, Go's sum of that module, and no address but the module's name."""
    lock = read_lock()

    assert lock.version.startswith("v1.")
    assert lock.module_sum.startswith("h1:")
    assert "://" not in weaviate_build.LOCK.read_text()
    assert msgspec.json.decode(weaviate_build.LOCK.read_bytes()) == msgspec.to_builtins(lock)
