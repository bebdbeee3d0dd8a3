"""Commands as users run them: each in a process of its own, told by its environment."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.cli.child_worker import ChildWorker, child_environment
from streams.clients.status import Status, status_reader
from streams.clock import SystemClock
from streams.settings import Settings
from topology import topics

Command = Callable[..., "subprocess.CompletedProcess[bytes]"]
"""Arguments, and `given`: bytes for standard input."""
StartWorker = Callable[..., ChildWorker]
"""`settings`: others than the test's own."""
PublishRaw = Callable[..., None]
"""Value, key and partition of a record, with a client that knows nothing of ours."""

_LIMIT_S = 60.0


@pytest.fixture
def settings(light_settings: Settings) -> Settings:
    """SQLite is enough: commands are tested here, not stores. Conversations that pause close after a second."""
    return light_settings.replace("extract", idle_after=light_settings.redis.timeout)


@pytest.fixture
def memstream(settings: Settings) -> Command:
    """Runs `memstream` to its end."""

    def call(*arguments: object, given: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [sys.executable, "-m", "streams.cli.main", *map(str, arguments)],
            env=child_environment(os.environ, settings),
            input=given,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
        )

    return call


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers and waits until they are ready; none outlives the test."""
    workers: list[ChildWorker] = []

    def start(with_settings: Settings = settings) -> ChildWorker:
        worker = ChildWorker(with_settings, log=tmp_path / f"worker-{len(workers)}.log")
        workers.append(worker)
        worker.start()
        ends_at_s = time.monotonic() + _LIMIT_S
        while not worker.is_ready():
            assert worker.exit_code is None, worker.last_lines(20)
            assert time.monotonic() < ends_at_s, worker.last_lines(20)
            time.sleep(0.05)
        return worker

    try:
        yield start
    finally:
        for worker in workers:
            worker.stop()


@pytest.fixture
def publish_raw(settings: Settings) -> PublishRaw:
    """Writes a record to conversation.events as any client may."""

    def publish(value: bytes, *, key: bytes | None, partition: int) -> None:
        producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
        producer.produce(
            topics.CONVERSATION_EVENTS.in_namespace(settings.kafka.namespace), value, key, partition=partition
        )
        assert producer.flush(30) == 0

    return publish


@pytest.fixture
def settled(settings: Settings) -> Callable[[], Status]:
    """Waits until everything in the log has passed all stages and no window is open."""

    def wait() -> Status:
        reader = status_reader(settings, SystemClock())
        ends_at_s = time.monotonic() + _LIMIT_S
        while True:
            status = reader.read()
            if status.caught_up and status.windows.open == 0 and all(stage.started for stage in status.stages[:3]):
                return status
            assert time.monotonic() < ends_at_s, status
            time.sleep(0.1)

    return wait
