"""The jars of Apache Kafka: fetched from a Maven repository by jgo, checked against our lock file, kept."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from infra.native import toolchains
from infra.native.commands import CommandError, run
from infra.native.errors import ChecksumError, FetchError
from infra.native.exclusive import exclusive
from infra.native.progress import Progress

LOCK = toolchains.LOCKS / "kafka.json"
_FETCHER = Path(__file__).with_name("fetch_jars.py")


class KafkaLock(msgspec.Struct, frozen=True):
    """Which jars make the broker: what was asked for, and the SHA-256 sum of everything that came of it."""

    version: str
    roots: list[str]
    jars: dict[str, str]


def read_lock() -> KafkaLock:
    """Return the lock file of this release."""
    return msgspec.json.decode(LOCK.read_bytes(), type=KafkaLock)


def jars(cache: Path, progress: Progress) -> Path:
    """Return the folder with Kafka's jars, fetched when it is not there yet.

    Every jar is compared with the lock file at every call (0.1 s for 44 MB), so what runs is what the lock names.

    Raises:
        FetchError: The repository did not deliver.
        ChecksumError: A jar differs from the lock file.
    """
    lock = read_lock()
    folder = cache / f"kafka-{lock.version}"
    if not folder.exists():
        jgo = toolchains.wheel("jgo", cache, progress)
        with progress.step(f"fetching Apache Kafka {lock.version}, {len(lock.jars)} jars, 44 MB") as step:
            waiting = "another process fetches; waiting for it"
            with exclusive(cache / "fetch.lock", on_wait=lambda: progress.note(waiting)):
                if not folder.exists():
                    _fetch(lock, jgo, folder, step.say)
    verify(folder, lock)
    return folder


def verify(folder: Path, lock: KafkaLock) -> None:
    """Compare the folder with the lock file: every jar of the lock, and no other.

    Raises:
        ChecksumError: A jar is missing, is too many, or differs.
    """
    wanted = {file_name(coordinate): digest for coordinate, digest in lock.jars.items()}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jar")}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise ChecksumError(
            f"{len(wrong)} jars in {folder} are not what the lock file names, first {wrong[0]}",
            "delete that folder; the next start fetches it again. If it comes again, do not trust the repository",
        )


def file_name(coordinate: str) -> str:
    """Return the file name of `group:artifact:version`."""
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def _fetch(lock: KafkaLock, jgo: Path, folder: Path, say: Callable[[str], None]) -> None:
    fresh = folder.with_name(f"{folder.name}.new")
    repository = folder.with_name(f"{folder.name}.repository")
    for left_over in (fresh, repository):
        shutil.rmtree(left_over, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        lines = _run_jgo("fetch", jgo, repository, list(lock.jars), say)
        for line in lines:
            coordinate, _, path = line.partition(" ")
            shutil.move(path, fresh / file_name(coordinate))
        verify(fresh, lock)
        fresh.rename(folder)
    finally:
        for left_over in (fresh, repository):
            shutil.rmtree(left_over, ignore_errors=True)


def _run_jgo(
    command: str, jgo: Path, repository: Path, coordinates: list[str], say: Callable[[str], None]
) -> list[str]:
    count = 0

    def on_line(line: str) -> None:
        nonlocal count
        count += 1
        say(f"{count} of {len(coordinates)}: {line.split(':')[1] if ':' in line else line}")

    try:
        return run(
            [sys.executable, _FETCHER, command, repository],
            env={**os.environ, "PYTHONPATH": str(jgo)},
            given="\n".join(coordinates),
            on_line=on_line,
        )
    except CommandError as error:
        raise FetchError(
            f"jgo could not fetch Kafka's jars: {error}", "check the network and the Maven repository, then try again"
        ) from error


def relock(cache: Path, progress: Progress) -> KafkaLock:
    """Resolve the roots of the lock file anew and return the lock file that follows: for a new Kafka version.

    Change version and roots in the file first; read the difference before it is kept.
    """
    old = read_lock()
    jgo = toolchains.wheel("jgo", cache, progress)
    repository = cache / "relock.repository"
    with progress.step("resolving Kafka's dependencies") as step:
        coordinates = _run_jgo("resolve", jgo, repository, old.roots, step.say)
        lines = _run_jgo("fetch", jgo, repository, coordinates, step.say)
        paths = dict(line.split(" ", 1) for line in lines)
        sums = {name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in sorted(paths.items())}
    shutil.rmtree(repository)
    return msgspec.structs.replace(old, jars=sums)


if __name__ == "__main__":  # python -m infra.native.kafka_jars: writes the lock file anew
    from infra.native.paths import cache_folder
    from infra.native.progress import on_stderr

    fresh_lock = relock(cache_folder(), on_stderr())
    LOCK.write_bytes(msgspec.json.format(msgspec.json.encode(fresh_lock), indent=2) + b"\n")
