"""Following memory changes: a typed async iterator over `memory.changes`."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.codec import DecodeError
from schemas.memory import MemoryChange
from streams.clients.log_scan import LogScan
from streams.engine import kafka
from streams.errors import TransientError, UsageError
from streams.settings import Settings
from topology import topics

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class PlacedChange:
    """A change and where it stands.

    Attributes:
        change: what happened.
        partition: of `memory.changes`.
        offset: store `offset + 1` per partition to go on from here later.
    """

    change: MemoryChange
    partition: int
    offset: int


class MemoryChanges:
    """Reads committed changes, without a consumer group: every reader sees all of them.

    Guarantees: changes of one user come in revision order, each once per run. Changes of a schema from the future are
    passed over, counted in `passed_over`. Not promised: order between users.

    Args:
        settings: where Kafka is.
        start: `beginning`, `end`, or partition to offset to go on from.
        follow: go on waiting for new changes; otherwise stop at the end as of the start.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        start: Literal["beginning", "end"] | dict[int, int] = "beginning",
        follow: bool = True,
    ) -> None:
        self._settings = settings
        self._start = start
        self._follow = follow
        self._topic = settings.kafka.namespace + topics.CHANGES.name
        self.passed_over = 0

    async def __aiter__(self) -> AsyncIterator[PlacedChange]:
        """Iterate; leaving the loop closes the connection.

        Raises:
            UsageError: the topic does not exist, or has nothing to start from where it should.
            TransientError: the broker is away.
        """
        loop = asyncio.get_running_loop()
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="changes")
        consumer = Consumer(kafka.log_reader(self._settings.kafka, client_id="memstream.changes"))
        try:
            ends = await loop.run_in_executor(executor, self._begin, consumer)
            while self._follow or ends:
                messages: list[Message] = await loop.run_in_executor(executor, _fetch, consumer)
                for message in messages:
                    if (error := message.error()) is not None:
                        _pass_end(error, message, ends)
                        continue
                    placed = self._placed(message)
                    if placed is not None and (self._follow or placed.offset < ends.get(placed.partition, -1)):
                        yield placed
                    _pass_offset(message, ends)
        except KafkaException as error:
            raise TransientError(f"Kafka: {error.args[0].str()}") from error
        finally:
            executor.shutdown(wait=True)
            consumer.close()

    def _begin(self, consumer: Consumer) -> dict[int, int]:
        # With open transactions: a commit that was acknowledged just now is not yet behind the last stable offset.
        bounds = LogScan(self._settings.kafka, client_id="memstream.changes").bounds(topics.CHANGES, with_open=True)
        if isinstance(self._start, dict):
            _check_starts(self._start, bounds)
        places = [TopicPartition(self._topic, partition, self._start_offset(partition)) for partition in sorted(bounds)]
        consumer.assign(places)
        if self._follow:
            return {}
        return {
            place.partition: bounds[place.partition].stop
            for place in places
            if self._start != "end" and max(place.offset, bounds[place.partition].start) < bounds[place.partition].stop
        }

    def _start_offset(self, partition: int) -> int:
        if isinstance(self._start, dict):
            return self._start.get(partition, OFFSET_BEGINNING)
        return OFFSET_BEGINNING if self._start == "beginning" else OFFSET_END

    def _placed(self, message: Message) -> PlacedChange | None:
        value: Any = message.value()
        try:
            event = topics.CHANGES.codec.decode(value)
        except DecodeError:
            self.passed_over += 1
            return None
        if not isinstance(event, MemoryChange):
            return None
        return PlacedChange(event, message.partition() or 0, message.offset() or 0)


def _check_starts(starts: dict[int, int], bounds: dict[int, range]) -> None:
    for partition, offset in starts.items():
        if partition not in bounds:
            raise UsageError(
                f"there is no partition {partition} to start in",
                next_step=f"{topics.CHANGES.name} has partitions {min(bounds)} to {max(bounds)}",
            )
        kept = bounds[partition]
        if offset >= 0 and not kept.start <= offset <= kept.stop:
            raise UsageError(
                f"partition {partition} cannot be read from offset {offset} on",
                next_step=f"it has offsets {kept.start} to {kept.stop}; or start at the beginning",
            )


def _fetch(consumer: Consumer) -> list[Message]:
    first = consumer.poll(0.2)
    return [] if first is None else [first, *consumer.consume(_AT_ONCE, 0)]


def _pass_end(error: KafkaError, message: Message, ends: dict[int, int]) -> None:
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (librdkafka's own codes start with an underscore)
        partition = message.partition()
        if partition is not None and (message.offset() or 0) >= ends.get(partition, 0):
            ends.pop(partition, None)
    elif not error.retriable() and error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
        raise KafkaException(error)


def _pass_offset(message: Message, ends: dict[int, int]) -> None:
    partition, offset = message.partition() or 0, message.offset() or 0
    if partition in ends and offset + 1 >= ends[partition]:
        del ends[partition]
