"""How results get out: one transaction per micro-batch, on one transactional producer per stage and process.

Blocking calls run in a thread of the producer's own, so that the event loop goes on. A transaction is opened only when
all outside calls are done, and so lasts milliseconds.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.engine.stage import Output
from streams.errors import FencedError, PoisonError, TransientError

_CALL_TIMEOUT_S = 30.0
"""One blocking transaction call; librdkafka retries inside, and says by itself when it is over."""

_FLUSH_STEP_S = 0.05
"""Bounds how late a refusal is seen; a flush without one returns as soon as everything is delivered."""


class RecordTooLargeError(PoisonError):
    """An output is larger than its topic takes; the event that made it cannot be handled."""


class Transactions:
    """Writes batches in transactions, and single records outside of them.

    Args:
        config: of the transactional producer (`streams.engine.kafka.transactional_producer`).
        publish_config: of the producer for copies and markers (`streams.engine.kafka.producer`).
        namespace: put before every topic.
    """

    def __init__(self, config: dict[str, Any], publish_config: dict[str, Any], *, namespace: str) -> None:
        self._refused: list[KafkaError] = []
        self._config = config | {"on_delivery": self._on_delivery, "delivery.report.only.error": True}
        self._publish_config = publish_config
        self._namespace = namespace
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transactions")
        self._producer: Producer
        self._publisher: Producer | None = None

    async def start(self) -> None:
        """Take over the transactional id: a predecessor's open transaction is aborted, the predecessor is fenced."""

        def start() -> None:
            self._producer = Producer(self._config)
            self._producer.init_transactions(60.0)

        await self._run(start)

    async def stop(self) -> None:
        """Flush what was published outside transactions and end the thread."""

        def stop() -> None:
            if self._publisher is not None:
                self._publisher.flush(10)

        await self._run(stop)
        self._executor.shutdown(wait=False)

    async def commit(self, outputs: Sequence[Output], *, offsets: Sequence[TopicPartition], metadata: Any) -> None:
        """Write outputs and input offsets in one transaction.

        Guarantees: when it returns, all of it is committed; when it raises, none of it is, and none ever will be.

        Raises:
            TransientError: the transaction was aborted; the same outputs may be sent again.
            RecordTooLargeError: an output does not fit; the batch must be decided again, in halves.
            FencedError: another instance has taken over; this producer is of no use any more.
        """
        await self._run(lambda: self._commit(outputs, offsets, metadata))

    async def publish(self, outputs: Sequence[Output]) -> None:
        """Write records outside any transaction; all are acknowledged when it returns.

        Raises:
            TransientError: the broker did not take one in time; writing all of them again is harmless.
        """
        await self._run(lambda: self._publish(outputs))

    async def _run(self, call: Any) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except KafkaException as error:
            raise _translated(error.args[0]) from error

    def _commit(self, outputs: Sequence[Output], offsets: Sequence[TopicPartition], metadata: Any) -> None:
        producer = self._producer
        producer.poll(0)  # reports that an aborted transaction left behind
        self._refused.clear()
        producer.begin_transaction()
        try:
            for output in outputs:
                self._produce(producer, output)
            self._flush()
            producer.send_offsets_to_transaction(list(offsets), metadata, _CALL_TIMEOUT_S)
            _until_settled(lambda: producer.commit_transaction(_CALL_TIMEOUT_S))
        except BaseException as error:
            if isinstance(error, KafkaException) and error.args[0].fatal():
                raise
            _until_settled(lambda: producer.abort_transaction(_CALL_TIMEOUT_S))
            raise

    def _flush(self) -> None:
        """Wait until the broker has every output, or has refused one.

        Committing at once would also find the refusal, but only after the transaction's timeout: the outputs behind the
        refused one in its partition are never taken, and the commit waits for them.
        """
        while self._producer.flush(_FLUSH_STEP_S) and not self._refused:
            pass
        if self._refused:
            raise KafkaException(self._refused[0])

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and error.code() not in _PURGED:
            self._refused.append(error)

    def _publish(self, outputs: Sequence[Output]) -> None:
        if self._publisher is None:
            self._publisher = Producer(self._publish_config)
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                errors.append(error)

        for output in outputs:
            self._produce(self._publisher, output, on_delivery=delivered)
        if self._publisher.flush(_CALL_TIMEOUT_S):
            raise TransientError("the broker did not acknowledge in time")
        if errors:
            raise KafkaException(errors[0])

    def _produce(self, producer: Producer, output: Output, **options: Any) -> None:
        if output.partition is not None:
            options["partition"] = output.partition
        while True:
            try:
                producer.produce(
                    self._namespace + output.topic.name,
                    key=output.key,
                    value=output.value,
                    headers=list(output.headers) if output.headers else None,
                    **options,
                )
            except BufferError:
                producer.poll(0.05)
            else:
                return


def _until_settled(call: Any) -> None:
    """Repeat a call that timed out or met a passing error: its outcome is open until the broker has answered."""
    while True:
        try:
            call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
        else:
            return


def _translated(error: KafkaError) -> Exception:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLargeError(f"an output does not fit into its topic: {error.str()}")
    if error.code() in _FENCED or error.fatal():
        return FencedError(f"this transactional producer is of no use any more: {error.str()}")
    return TransientError(f"Kafka: {error.str()}")


_PURGED: frozenset[int] = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001
"""Outputs that an abort threw away."""

_FENCED: frozenset[int] = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH})  # noqa: SLF001


def end_offsets(topic: str, last_offsets: Mapping[int, int]) -> list[TopicPartition]:
    """The positions that a batch settles: behind the last offset of each partition."""
    return [TopicPartition(topic, partition, offset + 1) for partition, offset in sorted(last_offsets.items())]
