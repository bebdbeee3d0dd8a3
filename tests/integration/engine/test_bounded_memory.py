"""A million events of backlog, and a stage that is slower than its input: memory is bounded by the settings."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from e2e.running_worker import environment_of

from streams.engine import kafka
from streams.engine.chunk import RECORD_OVERHEAD_BYTES
from streams.settings import KafkaSettings, Settings
from topology.topics import CANDIDATES, CONVERSATION_EVENTS

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

BACKLOG = 1_000_000
VALUE = (
    b'{"type":"turn","tenant":"acme","user_id":"u%d","conversation_id":"c","event_id":"e%d","role":"user",'
    b'"content":"turn %d"}'
)
BATCH_TAKES_S = 0.2
"""Batches of 2,000 are then 10,000 events a second at most, while the client fetches some 150,000."""
UNLIMITED_BYTES = 1 << 40
FETCHED_BYTES = 6 * 1024 * 1024
"""One fetch of one partition: 1 MiB as stored (`fetch.message.max.bytes`), of which lz4 makes 5.6 with these values."""


class State(msgspec.Struct):
    """What `slow_worker.py` says of itself."""

    resident: int
    peak_resident: int
    peak_in_flight: int
    largest_fetch: int
    settled: int


class SlowWorker:
    """A worker that runs; the first state is of before its first record."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.states: list[State] = []
        self._look()

    def run_until(self, condition: Callable[[State], bool], *, within_s: float = 60.0) -> State:
        """Follow it until a condition holds; returns the newest state."""
        begun_s = time.monotonic()
        while not condition(self.states[-1]):
            assert time.monotonic() - begun_s < within_s, f"it did not come to that: {self.states[-1]}"
            self._look()
        return self.states[-1]

    def leave(self) -> State:
        """Let it end in order."""
        rest, _ = self._process.communicate(timeout=60)
        self.states += [msgspec.json.decode(line, type=State) for line in rest.splitlines()]
        assert self._process.returncode == 0
        return self.states[-1]

    @property
    def grown_bytes(self) -> int:
        """How far resident memory has been above what it was before the first record."""
        return self.states[-1].peak_resident - self.states[0].resident

    def _look(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the worker ended with {self._process.wait(10)}"
        self.states.append(msgspec.json.decode(line, type=State))


@contextmanager
def slow_worker(settings: Settings, group: str) -> Iterator[SlowWorker]:
    """Runs one; it does not outlive the block."""
    script = Path(__file__).with_name("slow_worker.py")
    command = [sys.executable, str(script), "--group", group, "--batch-takes-s", str(BATCH_TAKES_S)]
    environment = environment_of(settings, {"PYTHONPATH": str(Path(__file__).parents[3])})
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield SlowWorker(process)
        finally:
            process.kill()


@pytest.fixture
def backlog(light_settings: Settings) -> Settings:
    """Settings of a namespace with a million events in it."""
    settings = light_settings.kafka
    topic = settings.namespace + CONVERSATION_EVENTS.name
    producer = Producer(
        kafka.producer(settings, client_id="test") | {"linger.ms": 50, "queue.buffering.max.messages": BACKLOG}
    )
    for number in range(BACKLOG):
        user, partition = number % 1000, number % settings.partitions
        producer.produce(topic, VALUE % (user, number, number), key=b"acme/u%d" % user, partition=partition)
    assert producer.flush(60) == 0
    assert [high for _, high in watermarks(settings, topic)] == [BACKLOG // settings.partitions] * settings.partitions
    return light_settings


def watermarks(settings: KafkaSettings, topic: str) -> list[tuple[int, int]]:
    """First offset and end of each partition."""
    reader = Consumer(kafka.log_reader(settings, client_id="test"))
    with closing(reader):
        return [
            reader.get_watermark_offsets(TopicPartition(topic, p), timeout=20, cached=False)
            for p in range(settings.partitions)
        ]


def committed_outputs(settings: KafkaSettings) -> list[list[int]]:
    """Per partition the offsets that the stage has written, in the order in which they stand."""
    reader = Consumer(kafka.log_reader(settings, client_id="test"))
    written: list[list[int]] = [[] for _ in range(settings.partitions)]
    topic = settings.namespace + CANDIDATES.name
    with closing(reader):
        reader.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(settings.partitions)])
        ended: set[int | None] = set()
        give_up_s = time.monotonic() + 30
        while len(ended) < settings.partitions:
            assert time.monotonic() < give_up_s, f"only {ended} came to their ends"
            for message in reader.consume(5000, 0.2):
                if (error := message.error()) is None:
                    written[message.partition() or 0].append(int(message.value() or b""))
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended.add(message.partition())
    return written


def committed_positions(settings: KafkaSettings, group: str) -> list[int]:
    """Where the group stands."""
    topic = settings.namespace + CONVERSATION_EVENTS.name
    places = [TopicPartition(topic, p) for p in range(settings.partitions)]
    with closing(Consumer(kafka.group_positions(settings, client_id="test", group_id=group))) as reader:
        return [max(place.offset, 0) for place in reader.committed(places, 20)]


def allowed_bytes(settings: Settings, largest_fetch: int) -> int:
    """How far resident memory may grow, by the settings."""
    config = kafka.stage_consumer(settings.kafka, client_id="", group_id="", instance_id="")
    value_bytes = len(VALUE % (999, BACKLOG, BACKLOG))
    # 1. Delivered and not committed: the limit, and the fetch that went over it.
    in_flight = settings.batch.max_in_flight_bytes + largest_fetch
    # 2. In the client's queue, whose limit counts values only; and what a fetch brings that began below it is queued
    # whole, uncompressed. Such small records are mostly overhead.
    queued_values = config["queued.max.messages.kbytes"] * 1024 + settings.kafka.partitions * FETCHED_BYTES
    queued: int = queued_values // value_bytes * (value_bytes + RECORD_OVERHEAD_BYTES)
    # 3. What becomes of a record in an open batch: event, output, outcome, and their copies in the producer.
    open_batches = settings.batch.max_open_batches * settings.batch.max_events * 4 * 1024
    return in_flight + queued + open_batches


def test_memory_stays_bounded_with_a_million_events_behind_and_a_stage_slower_than_them(backlog: Settings) -> None:
    """What is in flight keeps to its limit and resident memory to what follows from it; the stage goes on, in order.

    Without the limit the same worker grows beyond that bound within seconds.
    """
    group = f"{backlog.kafka.namespace}limited"
    limit_bytes = backlog.batch.max_in_flight_bytes
    with slow_worker(backlog, group) as worker:
        full = worker.run_until(lambda state: state.peak_in_flight >= limit_bytes)
        # The limit is reached and left again several times: the whole of what may be in flight turns over.
        records_of_limit = limit_bytes // RECORD_OVERHEAD_BYTES
        worker.run_until(lambda state: state.settled >= full.settled + 3 * records_of_limit)
        last = worker.leave()
    assert last.settled < BACKLOG / 2, "it was nearly done: that is no backlog"
    assert last.peak_in_flight <= limit_bytes + last.largest_fetch
    allowed = allowed_bytes(backlog, last.largest_fetch)
    assert worker.grown_bytes <= allowed

    written = committed_outputs(backlog.kafka)
    assert written == [list(range(len(offsets))) for offsets in written], "records were skipped, repeated or swapped"
    assert [len(offsets) for offsets in written] == committed_positions(backlog.kafka, group)
    assert sum(map(len, written)) == last.settled

    unlimited = backlog.replace("batch", max_in_flight_bytes=UNLIMITED_BYTES)
    with slow_worker(unlimited, f"{backlog.kafka.namespace}unlimited") as worker:
        worker.run_until(lambda _: worker.grown_bytes > allowed)
