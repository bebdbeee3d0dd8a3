"""Kafka's jars are what the lock file names, or they are refused."""

import hashlib
from pathlib import Path

import pytest

from infra.native import kafka_jars
from infra.native.errors import ChecksumError
from infra.native.kafka_jars import KafkaLock, file_name, read_lock, verify
from infra.native.progress import Silent

CONTENTS = {"org.example:one:1.0": b"first", "org.example:two:2.0": b"second"}
LOCK = KafkaLock("1.0", [], {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder that is as the lock says."""
    for coordinate, content in CONTENTS.items():
        (tmp_path / file_name(coordinate)).write_bytes(content)
    return tmp_path


def test_the_right_jars_pass(folder: Path) -> None:
    """A folder with every jar of the lock and no other is accepted."""
    verify(folder, LOCK)


def test_a_tampered_jar_is_refused(folder: Path) -> None:
    """One changed byte is enough, and the error names the jar."""
    (folder / "two-2.0.jar").write_bytes(b"Second")

    with pytest.raises(ChecksumError, match=r"two-2\.0\.jar"):
        verify(folder, LOCK)


def test_a_missing_jar_is_refused(folder: Path) -> None:
    """A folder that lacks a jar would fail later, and less clearly."""
    (folder / "one-1.0.jar").unlink()

    with pytest.raises(ChecksumError, match=r"one-1\.0\.jar"):
        verify(folder, LOCK)


def test_a_foreign_jar_is_refused(folder: Path) -> None:
    """A jar that the lock does not name would be on the class path too."""
    (folder / "evil-6.6.jar").write_bytes(b"")

    with pytest.raises(ChecksumError, match=r"evil-6\.6\.jar"):
        verify(folder, LOCK)


def test_jars_in_the_cache_are_checked_at_every_use(tmp_path: Path) -> None:
    """A cache that was changed after the fetch is refused, without asking the network."""
    cached = tmp_path / f"kafka-{read_lock().version}"
    cached.mkdir()
    (cached / f"kafka_2.13-{read_lock().version}.jar").write_bytes(b"not Kafka")

    with pytest.raises(ChecksumError):
        kafka_jars.jars(tmp_path, Silent())


def test_the_lock_file_is_whole() -> None:
    """The lock names its roots among its jars, one file name per jar, a SHA-256 sum each, and no address."""
    lock = read_lock()

    assert set(lock.roots) <= lock.jars.keys()
    assert f"org.apache.kafka:kafka_2.13:{lock.version}" in lock.roots
    assert len({file_name(coordinate) for coordinate in lock.jars}) == len(lock.jars)
    assert all(len(bytes.fromhex(digest)) == 32 for digest in lock.jars.values())
    assert "://" not in kafka_jars.LOCK.read_text()
