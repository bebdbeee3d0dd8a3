"""What the log says, seen from outside: when a memory became searchable, and what was written on the way."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.indexed import Indexed
from streams.engine import kafka
from streams.errors import MemstreamError
from streams.settings import Settings
from topology import topics
from topology.topics import TopicSpec

_AT_ONCE = 1000
_TIMEOUT_S = 10.0
_LOOK_EVERY_S = 0.1
"""Nothing is late by it: times are taken when a notice is read. The load shares its cores with what it measures."""
_NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


class WaitError(MemstreamError):
    """Something that was waited for did not come."""


class IndexedProbe:
    """Follows `memory.indexed` from now on, in a thread, and notes when each memory was first said to be searchable.

    Times are of this process's monotonic clock, taken when the notice was read: upper bounds.

    Args:
        settings: where Kafka is.

    Attributes:
        seen_at_s: memory id to the time of its first notice.
        rows: (time, memories) of every notice.
    """

    def __init__(self, settings: Settings) -> None:
        self.seen_at_s: dict[str, float] = {}
        self.rows: list[tuple[float, int]] = []
        self._settings = settings
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="indexed-probe", daemon=True)
        self._standing = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._standing.wait(_TIMEOUT_S * self._settings.kafka.partitions)
        self.missing(())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def await_all(self, memory_ids: Collection[str], *, within_s: float, while_waiting: Callable[[int], None]) -> float:
        """Wait until all of these are searchable.

        Args:
            memory_ids: which.
            within_s: how long to wait.
            while_waiting: called now and then with how many have come; may raise to give up.

        Returns:
            When the last of them was seen.

        Raises:
            WaitError: not in time.
        """
        deadline_s = time.monotonic() + within_s
        missing = set(memory_ids)
        while missing := self.missing(missing):
            while_waiting(len(memory_ids) - len(missing))
            if time.monotonic() > deadline_s:
                raise WaitError(f"{len(missing)} of {len(memory_ids)} memories are not searchable after {within_s:g} s")
            time.sleep(_LOOK_EVERY_S)
        return max(self.seen_at_s[memory_id] for memory_id in memory_ids)

    def await_quiet(self, *, quiet_s: float, within_s: float) -> None:
        """Wait until no notice has come for a while.

        Raises:
            WaitError: they go on coming.
        """
        deadline_s = time.monotonic() + within_s
        while self.rows and time.monotonic() - self.rows[-1][0] < quiet_s:
            if time.monotonic() > deadline_s:
                raise WaitError(f"notices still come on {topics.INDEXED.name} after {within_s:g} s")
            time.sleep(_LOOK_EVERY_S)

    def missing(self, memory_ids: Iterable[str]) -> set[str]:
        """Those of the memories that were not said to be searchable so far.

        Raises:
            WaitError: nobody is looking any more.
        """
        if self._failure is not None:
            raise WaitError(f"the probe of {topics.INDEXED.name} has failed: {self._failure}") from self._failure
        return set(memory_ids) - self.seen_at_s.keys()

    def rows_between(self, start_s: float, end_s: float) -> int:
        """How many memories were said to be written in a span of time."""
        return sum(count for at_s, count in self.rows if start_s <= at_s <= end_s)

    def _run(self) -> None:
        consumer = Consumer(
            kafka.log_reader(self._settings.kafka, client_id="memstream.bench") | {"fetch.wait.max.ms": 10}
        )
        try:
            ends = _ends(consumer, self._settings, topics.INDEXED)
            topic = topics.INDEXED.in_namespace(self._settings.kafka.namespace)
            consumer.assign([TopicPartition(topic, partition, end) for partition, end in ends.items()])
            consumer.poll(0)
            self._standing.set()
            while not self._stopping.is_set():
                for message in consumer.consume(_AT_ONCE, 0.005):
                    if message.error() is None:
                        self._note(message)
        except BaseException as failure:  # noqa: BLE001  (whoever waits raises it)
            self._failure = failure
        finally:
            self._standing.set()
            consumer.close()

    def _note(self, message: Message) -> None:
        value: Any = message.value()
        notice: Indexed = topics.INDEXED.codec.decode(value)
        now_s = time.monotonic()
        count = 0
        for user in notice.users:
            count += len(user.memory_ids)
            for memory_id in user.memory_ids:
                self.seen_at_s.setdefault(memory_id, now_s)
        self.rows.append((now_s, count))


def read_all(settings: Settings, topic: TopicSpec) -> Iterator[Message]:
    """Every committed record of a topic up to where it ends now, partition by partition in log order.

    Raises:
        WaitError: the log does not deliver.
    """
    consumer = Consumer(kafka.log_reader(settings.kafka, client_id="memstream.bench"))
    try:
        name = topic.in_namespace(settings.kafka.namespace)
        for partition, end in _ends(consumer, settings, topic).items():
            consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING)])
            position = 0
            deadline_s = time.monotonic() + _TIMEOUT_S
            while position < end:
                for message in consumer.consume(_AT_ONCE, 0.1):
                    deadline_s = time.monotonic() + _TIMEOUT_S
                    position = (message.offset() or 0) + (message.error() is None)
                    if message.error() is None and position <= end:
                        yield message
                if time.monotonic() > deadline_s:
                    raise WaitError(f"{name} partition {partition} does not read up to {end}")
    except KafkaException as error:
        raise WaitError(f"reading {topic.name}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _ends(consumer: Consumer, settings: Settings, topic: TopicSpec) -> dict[int, int]:
    name = topic.in_namespace(settings.kafka.namespace)
    return {
        partition: _end(consumer, TopicPartition(name, partition)) for partition in range(settings.kafka.partitions)
    }


def _end(consumer: Consumer, place: TopicPartition) -> int:
    deadline_s = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            _, end = consumer.get_watermark_offsets(place, _TIMEOUT_S, cached=False)
        except KafkaException as error:
            # A topic made a moment ago may not have its leader yet.
            if error.args[0].code() not in _NO_LEADER_YET or time.monotonic() > deadline_s:
                raise
            time.sleep(_LOOK_EVERY_S)
        else:
            return int(end)
