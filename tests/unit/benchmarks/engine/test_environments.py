"""The peers' environments: pinned, apart, and said to be missing where they cannot be."""

import re
import sys
from pathlib import Path

import pytest

from benchmarks.engine.environments import LOCKS, Environment, PeerMissingError, pinned_versions, python_of
from infra.native.progress import Silent

_PEERS = [environment for environment in Environment if environment is not Environment.OURS]


def test_ours_is_the_environment_that_runs_the_benchmark(tmp_path: Path) -> None:
    """The engine is measured as it is installed."""
    assert python_of(Environment.OURS, tmp_path, Silent()) == Path(sys.executable)


@pytest.mark.parametrize("peer", _PEERS)
def test_every_package_of_a_peer_is_pinned_by_hash(peer: Environment) -> None:
    """No lock names a registry, and none leaves a package open."""
    lock = (LOCKS / f"{peer}.lock").read_text()
    pinned = re.findall(r"^\S+==\S+(?: ;[^\\]*)? \\\n    --hash=sha256:", lock, flags=re.MULTILINE)
    assert pinned
    assert len(pinned) == len(re.findall(r"^[^\s#]", lock, flags=re.MULTILINE))
    assert "://" not in lock


def test_versions_of_peers_are_those_of_their_locks() -> None:
    """What is reported is what is installed."""
    locks = "".join((LOCKS / f"{peer}.lock").read_text() for peer in _PEERS)
    versions = pinned_versions()
    assert {"faust-streaming", "aiokafka", "quixstreams", "bytewax"} <= set(versions)
    assert all(f"\n{name}=={version} " in f"\n{locks}" for name, version in versions.items())


def test_a_peer_that_cannot_be_installed_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says why, and no half-made environment stays behind."""
    (tmp_path / "quix.lock").write_text("quixstreams==0.0.0 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr("benchmarks.engine.environments.LOCKS", tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(PeerMissingError, match=r"no wheel|not installed"):
        python_of(Environment.QUIX, tmp_path / "cache", Silent())
    assert list((tmp_path / "cache" / "peers").iterdir()) == []
