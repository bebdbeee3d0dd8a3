"""Watched workers, for chaos tests."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from chaos.watched import WatchedWorker

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
