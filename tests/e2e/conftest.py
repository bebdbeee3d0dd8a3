"""Running workers, for end-to-end tests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
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
