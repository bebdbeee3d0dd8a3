"""The catch-up gate: reading what is committed in a partition, up to where it ends now.

1. Whoever calls has read the stable committed offset of its input, so every transaction that holds a consumed record
   has ended or is ending.
2. Ask for the high watermark: it lies behind the last record of any such transaction, its markers included or not.
3. Read committed records up to there. Reading committed records waits, by itself, for the markers still being written.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.engine import kafka
from streams.errors import TransientError
from streams.settings import KafkaSettings
from topology.topics import TopicSpec

_BATCH = 5000
_IDLE_LIMIT_S = 60.0
"""No record and no end for so long: the broker is away, or a transaction does not end (its timeout is 10 s)."""


class LogReader(Protocol):
    """Reads a partition's committed records."""

    def read(
        self, topic: TopicSpec, partition: int, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[list[Message]]:
        """The committed records of a partition, in lists, in log order.

        Args:
            topic: which one.
            partition: which one.
            start: the first offset that is wanted.
            stop: the first that is not; none for the partition's end as of now.
        """


class KafkaLogReader:
    """Reads with a consumer of its own for each call, in a thread of its own.

    Args:
        settings: where the log is.
        client_id: shown in the broker's logs.
        monotonic_s: seconds that never go back.
    """

    def __init__(self, settings: KafkaSettings, *, client_id: str, monotonic_s: Callable[[], float]) -> None:
        self._settings = settings
        self._client_id = client_id
        self._monotonic_s = monotonic_s

    async def read(
        self, topic: TopicSpec, partition: int, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[list[Message]]:
        """See `LogReader.read`.

        Raises:
            TransientError: the broker is away, or a transaction on the partition does not end.
        """
        loop = asyncio.get_running_loop()
        name = self._settings.namespace + topic.name
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-reader") as executor:

            async def call(function: Callable[..., Any], *args: Any) -> Any:
                try:
                    return await loop.run_in_executor(executor, function, *args)
                except KafkaException as error:
                    raise TransientError(f"reading {name} partition {partition}: {error.args[0].str()}") from error

            config = kafka.log_reader(self._settings, client_id=self._client_id)
            kept: range = await call(self._kept, config, TopicPartition(name, partition))
            position = max(start, kept.start)
            end = kept.stop if stop is None else min(stop, kept.stop)
            if position >= end:
                return
            consumer = await call(Consumer, config | kafka.ENDS_SOON)
            try:
                await call(consumer.assign, [TopicPartition(name, partition, position)])
                idle_since_s = self._monotonic_s()
                while position < end:
                    messages: list[Message] = await call(_fetch, consumer)
                    records = []
                    for message in messages:
                        offset = message.offset() or 0
                        error = message.error()
                        if error is None:
                            position = offset + 1
                            if offset < end:
                                records.append(message)
                        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                            position = max(position, offset)
                        elif not error.retriable():
                            raise TransientError(f"reading {name} partition {partition}: {error.str()}")
                    if records:
                        yield records
                    if messages:
                        idle_since_s = self._monotonic_s()
                    elif self._monotonic_s() - idle_since_s > _IDLE_LIMIT_S:
                        raise TransientError(f"{name} partition {partition} stands at {position}, its end is {end}")
            finally:
                await call(consumer.close)

    def _kept(self, config: dict[str, Any], place: TopicPartition) -> range:
        """The offsets of a partition, from the first that is kept to behind the last one, committed or not."""
        # With read_committed the client would answer with the last stable offset, which lies before open transactions.
        consumer = Consumer(config | {"isolation.level": "read_uncommitted"})
        try:
            low, high = consumer.get_watermark_offsets(place, timeout=10, cached=False)
        finally:
            consumer.close()
        return range(int(low), int(high))


def _fetch(consumer: Consumer) -> list[Message]:
    # `consume` waits for as many records as it may return; asked without waiting, it returns what is there.
    first = consumer.poll(0.1)
    return [] if first is None else [first, *consumer.consume(_BATCH, 0)]
