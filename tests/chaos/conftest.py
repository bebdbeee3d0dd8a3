"""Watched workers and the log they leave, for chaos tests."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from chaos.watched import WatchedWorker
from e2e.log_history import LogFollower

from streams.settings import Settings


@pytest.fixture
def new_worker(tmp_path: Path) -> Iterator[Callable[..., WatchedWorker]]:
    """Makes watched workers, not yet started; they share a journal, and none of them outlives the test."""
    workers: list[WatchedWorker] = []

    def make(settings: Settings, *, stages: Sequence[str] = ()) -> WatchedWorker:
        workers.append(WatchedWorker(settings, tmp_path, stages=stages))
        return workers[-1]

    try:
        yield make
    finally:
        for worker in workers:
            worker.end()


@pytest.fixture
def follow() -> Iterator[Callable[..., LogFollower]]:
    """Makes followers of a log; all are closed at the end."""
    followers: list[LogFollower] = []

    def make(settings: Settings, **options: str) -> LogFollower:
        followers.append(LogFollower(settings, **options))  # type: ignore[arg-type]
        return followers[-1]

    try:
        yield make
    finally:
        for follower in followers:
            follower.__exit__(None, None, None)
