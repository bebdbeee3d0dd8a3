"""Running workers and the log they leave, for end-to-end tests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from e2e.log_history import LogFollower
from e2e.running_worker import RunningWorker

from streams.settings import Settings

StartWorker = Callable[..., RunningWorker]


@pytest.fixture
def new_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Makes workers, not yet started; none of them outlives the test."""
    workers: list[RunningWorker] = []

    def make(
        settings: Settings, *, stages: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> RunningWorker:
        workers.append(RunningWorker(settings, tmp_path, stages=stages, environment=environment))
        return workers[-1]

    try:
        yield make
    finally:
        for worker in workers:
            worker.end()


@pytest.fixture
def follow() -> Iterator[Callable[[Settings], LogFollower]]:
    """Makes followers of a log; all are closed at the end."""
    followers: list[LogFollower] = []

    def make(settings: Settings) -> LogFollower:
        followers.append(LogFollower(settings))
        return followers[-1]

    try:
        yield make
    finally:
        for follower in followers:
            follower.__exit__(None, None, None)
