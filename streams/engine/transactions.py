"""How results get out: one transaction per micro-batch, on one transactional producer per stage and process.

Blocking calls run in a thread of the producer's own, so that the event loop goes on. A transaction is opened only when
all outside calls are done, and so lasts milliseconds.

What can go wrong, by librdkafka's three classes of errors:

1. retriable: the same call again; its outcome is open until the broker has answered.
2. abortable: the transaction is aborted, nothing of it will ever be seen.
3. fatal: the producer is of no use any more, for example because its transaction was open for longer than its timeout
   while the broker was away. A new one takes over the transactional id, which ends whatever was open. If the commit had
   been asked for, only the group's position tells whether it took place.

A producer that has not come through for twice the transaction's timeout counts as the third: librdkafka 2.16 was seen
to wait for ever after a restart of its broker ("TxnCoordinator: Timed out ... 1 out-queue", in flush and in abort).
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.engine import kafka
from streams.engine.stage import Output
from streams.engine.steps import Observe, Step, unobserved
from streams.errors import FencedError, PoisonError, TransientError

log = structlog.get_logger("memstream.engine")

_CALL_TIMEOUT_S = 10.0
"""One blocking transaction call. Its outcome is open until it is asked again; a process that stops waits for one."""

_FLUSH_STEP_S = 0.05
"""Bounds how late a refusal is seen; a flush without one returns as soon as everything is delivered."""

_SPENT_AFTER_S = 20.0
"""Twice the transaction timeout (`streams.engine.kafka`): by then the broker has ended the transaction itself."""

_ANY_PARTITION = -1
"""Lets librdkafka choose one by the key (`RD_KAFKA_PARTITION_UA`)."""

_MAX_RENEWALS, _RENEWALS_WITHIN_S = 10, 60.0
"""More producers that were given up within so long: somebody else uses the transactional id. Not only those in a row:
two workers of one name both come through now and then (17 renewals a second each, under load). A broker that is killed
or halted costs one or two."""


class RecordTooLargeError(PoisonError):
    """An output is larger than its topic takes; the event that made it cannot be handled."""


class Transactions:
    """Writes batches in transactions, and single records outside of them.

    Args:
        config: of the transactional producer (`streams.engine.kafka.transactional_producer`).
        publish_config: of the producer for copies and markers (`streams.engine.kafka.producer`).
        position_config: of a consumer with the stage's group id (`streams.engine.kafka.group_positions`).
        namespace: put before every topic.
        monotonic_s: seconds that never go back.
        observe: told when the outputs of a batch are written and when they are about to commit.
    """

    def __init__(
        self,
        config: dict[str, Any],
        publish_config: dict[str, Any],
        position_config: dict[str, Any],
        *,
        namespace: str,
        monotonic_s: Callable[[], float],
        observe: Observe = unobserved,
    ) -> None:
        self._refused: list[KafkaError] = []
        self._config = config | {"on_delivery": self._on_delivery, "delivery.report.only.error": True}
        self._publish_config = publish_config
        self._position_config = position_config
        self._namespace = namespace
        self._monotonic_s = monotonic_s
        self._observe = observe
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transactions")
        self._stopping = threading.Event()
        self._producer: Producer | None = None
        self._renewed_at_s: deque[float] = deque(maxlen=_MAX_RENEWALS)
        self._publisher: Producer | None = None

    async def start(self) -> None:
        """Take over the transactional id: a predecessor's open transaction is aborted, the predecessor is fenced."""
        await self._run(self._renew)

    async def stop(self) -> None:
        """Flush what was published outside transactions and end the thread; a call that waits for Kafka gives up."""

        def stop() -> None:
            if self._publisher is not None:
                self._publisher.flush(10)

        self._stopping.set()
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
        if producer is None:
            producer = self._renew()
        # Positions alone are no batch: each of those has an entry in the ledger.
        observe = self._observe if outputs else unobserved
        asked_to_commit = False
        try:
            producer.poll(0)  # reports that an aborted transaction left behind
            self._refused.clear()
            producer.begin_transaction()
            self._produce(producer, outputs)
            self._flush(producer)
            observe(Step.PRODUCED)
            producer.send_offsets_to_transaction(list(offsets), metadata, _CALL_TIMEOUT_S)
            observe(Step.COMMITTING)
            asked_to_commit = True
            self._until_answered(lambda: producer.commit_transaction(_CALL_TIMEOUT_S), spent_after_s=_SPENT_AFTER_S)
        except KafkaException as error:
            # Once the commit was asked for, only an error that wants an abort says that it did not take place.
            is_open = error.args[0].txn_requires_abort() if asked_to_commit else not error.args[0].fatal()
            if is_open and self._aborted(producer):
                raise
            self._renew(error)
            if not asked_to_commit or not self._are_behind(offsets):
                raise TransientError(f"the transaction was given up: {error.args[0].str()}") from error
        except BaseException:
            if not self._aborted(producer):
                self._renew()
            raise

    def _aborted(self, producer: Producer) -> bool:
        """Abort what is open; false when the producer cannot even do that."""
        try:
            self._until_answered(lambda: producer.abort_transaction(_CALL_TIMEOUT_S), spent_after_s=_SPENT_AFTER_S)
        except KafkaException as error:
            log.warning("abort_failed", error=error.args[0].str())
            return False
        return True

    def _renew(self, cause: KafkaException | None = None) -> Producer:
        """Put a new producer in the place of one that is of no use any more; returns once it has taken over."""
        if cause is not None:
            self._must_be_rare(cause.args[0])
        self._producer = None
        producer = Producer(self._config)
        self._until_answered(lambda: producer.init_transactions(_CALL_TIMEOUT_S))
        self._producer = producer
        return producer

    def _must_be_rare(self, cause: KafkaError) -> None:
        log.warning("producer_renewed", error=cause.str())
        now_s = self._monotonic_s()
        if len(self._renewed_at_s) == _MAX_RENEWALS and now_s - self._renewed_at_s[0] < _RENEWALS_WITHIN_S:
            raise FencedError(
                f"more than {_MAX_RENEWALS} transactional producers were fenced within {_RENEWALS_WITHIN_S:.0f} s"
                f" ({cause.str()}): another process has this worker's instance name. Name one of them with"
                " MEMSTREAM_WORKER_INSTANCE"
            )
        self._renewed_at_s.append(now_s)

    def _are_behind(self, offsets: Sequence[TopicPartition]) -> bool:
        """Whether the group stands behind these offsets, now that nothing of ours is open: then they were committed."""
        consumer = Consumer(self._position_config)
        try:
            found: list[TopicPartition] = []

            def ask() -> None:
                found[:] = consumer.committed([TopicPartition(o.topic, o.partition) for o in offsets], _CALL_TIMEOUT_S)

            self._until_answered(ask)
        finally:
            consumer.close()
        behind = [position.offset >= wanted.offset for position, wanted in zip(found, offsets, strict=True)]
        return bool(behind) and all(behind)

    def _until_answered(self, call: Callable[[], Any], *, spent_after_s: float | None = None) -> None:
        """Repeat a call that timed out or met a passing error: its outcome is open until the broker has answered.

        Args:
            call: what to do.
            spent_after_s: a producer that has not come through for so long never will; none is patient for ever.
        """
        ends_at_s = self._monotonic_s() + spent_after_s if spent_after_s else math.inf
        while True:
            try:
                call()
            except KafkaException as error:
                cause = error.args[0]
                # A spent producer answers _CONFLICT for ever, and calls it retriable.
                if cause.code() == KafkaError._CONFLICT or not (cause.retriable() or cause.code() in _PASSING):  # noqa: SLF001
                    raise
                if self._stopping.is_set():
                    raise TransientError(f"stopped while waiting for Kafka: {cause.str()}") from error
                if self._monotonic_s() > ends_at_s:
                    raise
            else:
                return

    def _flush(self, producer: Producer) -> None:
        """Wait until the broker has every output, or has refused one.

        Committing at once would also find the refusal, but only after the transaction's timeout: the outputs behind the
        refused one in its partition are never taken, and the commit waits for them.
        """
        ends_at_s = self._monotonic_s() + _SPENT_AFTER_S
        while producer.flush(_FLUSH_STEP_S) and not self._refused:
            if self._monotonic_s() > ends_at_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the outputs are not taken"))  # noqa: SLF001
            if self._stopping.is_set():
                raise TransientError("stopped while waiting for Kafka to take the outputs")
        if self._refused:
            raise KafkaException(self._refused[0])

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and error.code() not in kafka.PURGED:
            self._refused.append(error)

    def _publish(self, outputs: Sequence[Output]) -> None:
        if self._publisher is None:
            self._publisher = Producer(self._publish_config)
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                errors.append(error)

        self._produce(self._publisher, outputs, on_delivery=delivered)
        if self._publisher.flush(_CALL_TIMEOUT_S):
            raise TransientError("the broker did not acknowledge in time")
        if errors:
            raise KafkaException(errors[0])

    def _produce(self, producer: Producer, outputs: Iterable[Output], **options: Any) -> None:
        produce, topic, name = producer.produce, None, ""
        for output in outputs:
            if output.topic is not topic:
                topic, name = output.topic, self._namespace + output.topic.name
            partition = _ANY_PARTITION if output.partition is None else output.partition
            more = options if output.headers is None else {**options, "headers": list(output.headers)}
            while True:
                try:
                    produce(name, output.value, output.key, partition, **more)
                except BufferError:
                    producer.poll(0.05)
                else:
                    break


def _translated(error: KafkaError) -> Exception:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLargeError(f"an output does not fit into its topic: {error.str()}")
    # Not FENCED_INSTANCE_ID: with metadata from before a rejoin, it is ourselves that we meet. Of another process under
    # our name the consumer is told, and ends (`streams.engine.poller`).
    if error.fatal():
        return FencedError(f"another instance has taken over: {error.str()}")
    return TransientError(f"Kafka: {error.str()}")


_PASSING: frozenset[int] = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})  # noqa: SLF001
"""Errors that pass although librdkafka does not call all of them retriable everywhere."""
