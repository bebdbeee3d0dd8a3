"""Reading stretches of the log from outside the stages: for status, trace and dead letters.

All calls block; from an event loop, use `asyncio.to_thread`. No consumer group is joined and nothing is committed.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # the client does not export it by name

from streams.engine import kafka
from streams.engine.raw_record import offset_of, partition_of
from streams.errors import AwayError, TransientError, UsageError
from streams.settings import KafkaSettings
from topology.topics import TopicSpec

T = TypeVar("T")

_ANSWER_TIMEOUT_S = 10.0
_STUCK_AFTER_S = 15.0
"""No record and no end for so long: the broker is away. An open transaction ends after 10 s."""
_AT_ONCE = 2000
_EARLIEST: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_NOT_YET = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError._NOENT,  # noqa: SLF001  (librdkafka's own codes start with an underscore)
    }
)


class LogScan:
    """Reads committed records of any topic of ours, from one offset to another.

    Args:
        settings: where the log is.
        client_id: shown in the broker's logs.
    """

    def __init__(self, settings: KafkaSettings, *, client_id: str) -> None:
        self.settings = settings
        self._client_id = client_id
        self.admin = AdminClient(kafka.connection(settings, client_id=client_id))

    def name(self, spec: TopicSpec) -> str:
        """The topic's name in Kafka."""
        return spec.in_namespace(self.settings.namespace)

    def bounds(self, spec: TopicSpec, *, with_open: bool = False) -> dict[int, range]:
        """The offsets of each partition, from the first that is kept to behind the last committed one.

        Args:
            spec: which topic.
            with_open: up to what was written by transactions that have not ended yet. A commit counts as open for some
                milliseconds after it was acknowledged. Reading that far waits for their end, 10 s at most.

        Raises:
            UsageError: the topic does not exist.
            AwayError: no broker answers.
            TransientError: the broker does not answer in time.
        """
        name = self.name(spec)
        try:
            metadata = self.admin.list_topics(name, timeout=_ANSWER_TIMEOUT_S).topics[name]
        except KafkaException as error:
            where = self.settings.bootstrap_servers
            raise AwayError(f"Kafka at {where} does not answer: {error.args[0].str()}") from error
        if metadata.error is not None:
            raise UsageError(
                f"topic {name}: {metadata.error.str()}",
                next_step="`memstream topology apply` creates the topics, and so do `worker` and `publish`",
            )
        places = [TopicPartition(name, partition) for partition in sorted(metadata.partitions)]
        first = self._offsets(places, _EARLIEST, IsolationLevel.READ_COMMITTED)
        isolation = IsolationLevel.READ_UNCOMMITTED if with_open else IsolationLevel.READ_COMMITTED
        end = self._offsets(places, _LATEST, isolation)
        return {place.partition: range(first[place], end[place]) for place in places}

    def committed(
        self, group_id: str, spec: TopicSpec, partitions: Collection[int], *, stable: bool = False
    ) -> dict[int, int]:
        """How far a consumer group has committed a topic; partitions that it has committed nothing of are left out.

        Args:
            group_id: which group.
            spec: which topic.
            partitions: of the topic.
            stable: wait for a transaction that is ending just now. Without, its position may be seen before it ends or
                milliseconds after it.

        Raises:
            TransientError: the broker is away, or a transaction does not end in time.
        """
        # Not through the admin client: librdkafka 2.16 dereferences a null pointer there when the group's coordinator
        # is not ready (rd_kafka_handle_OffsetFetch without a consumer group). This consumer never joins the group.
        config = kafka.log_reader(self.settings, client_id=self._client_id) | {
            "group.id": group_id,
            "isolation.level": "read_committed" if stable else "read_uncommitted",
        }

        def ask() -> list[TopicPartition]:
            found = consumer.committed(places, _ANSWER_TIMEOUT_S)
            for place in found:
                if place.error is not None:
                    raise KafkaException(place.error)
            return found

        consumer = Consumer(config)
        try:
            places = [TopicPartition(self.name(spec), partition) for partition in sorted(partitions)]
            found = _patiently(ask)
        finally:
            consumer.close()
        return {place.partition: place.offset for place in found if place.offset >= 0}

    def members(self, group_ids: Sequence[str]) -> dict[str, int]:
        """How many consumers each group has now; groups that do not exist are left out.

        Raises:
            TransientError: the broker is away.
        """

        def ask() -> dict[str, int]:
            futures: dict[str, Future[Any]] = self.admin.describe_consumer_groups(
                list(group_ids), request_timeout=_ANSWER_TIMEOUT_S
            )
            wait(futures.values(), timeout=_ANSWER_TIMEOUT_S + 5)
            return {
                group: len(future.result(0).members)
                for group, future in futures.items()
                if not _is_unknown_group(future.exception(0))
            }

        return _patiently(ask)

    def _offsets(
        self, places: list[TopicPartition], wanted: Any, isolation: IsolationLevel
    ) -> dict[TopicPartition, int]:
        """One end of each partition."""

        def ask() -> dict[TopicPartition, int]:
            futures: dict[TopicPartition, Future[Any]] = self.admin.list_offsets(
                dict.fromkeys(places, wanted),
                isolation_level=isolation,
                request_timeout=_ANSWER_TIMEOUT_S,
            )
            wait(futures.values(), timeout=_ANSWER_TIMEOUT_S + 5)
            return {place: future.result(0).offset for place, future in futures.items()}

        return _patiently(ask)

    def read(self, spec: TopicSpec, ranges: Mapping[int, range], *, with_open: bool = False) -> Iterator[Message]:
        """The committed records in these offsets, in log order within each partition.

        Args:
            spec: which topic.
            ranges: partition to offsets.
            with_open: also records that are not committed, and those that never will be.

        Raises:
            TransientError: the broker is away, or does not come to the end of a range.
        """
        name = self.name(spec)
        left = {partition: wanted.stop for partition, wanted in ranges.items() if wanted}
        if not left:
            return
        config = kafka.log_reader(self.settings, client_id=self._client_id) | kafka.ENDS_SOON
        consumer = Consumer(config | ({"isolation.level": "read_uncommitted"} if with_open else {}))
        try:
            consumer.assign([TopicPartition(name, partition, ranges[partition].start) for partition in left])
            moved_at_s = time.monotonic()
            while left:
                messages = _fetch(consumer)
                for message in messages:
                    partition, offset = message.partition(), message.offset()
                    if (error := message.error()) is not None:
                        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                            if partition in left and (offset or 0) >= left[partition]:
                                del left[partition]
                        elif not error.retriable() and error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
                            raise TransientError(f"reading {name}: {error.str()}")
                        continue
                    assert partition is not None
                    assert offset is not None
                    if partition not in left:
                        continue
                    if offset < left[partition]:
                        yield message
                    if offset + 1 >= left[partition]:
                        del left[partition]
                if messages:
                    moved_at_s = time.monotonic()
                elif time.monotonic() - moved_at_s > _STUCK_AFTER_S:
                    raise TransientError(
                        f"reading {name}: no answer for {_STUCK_AFTER_S:.0f} s; if the broker is there, a transaction "
                        "does not end (`memstream status` shows it)"
                    )
        except KafkaException as error:
            raise TransientError(f"reading {name}: {error.args[0].str()}") from error
        finally:
            consumer.close()

    def read_all(
        self, spec: TopicSpec, partitions: Collection[int] | None = None, *, with_open: bool = False
    ) -> Iterator[Message]:
        """All committed records as of now, of all partitions or of some; `with_open` as in `bounds`."""
        bounds = self.bounds(spec, with_open=with_open)
        wanted = bounds.keys() if partitions is None else bounds.keys() & set(partitions)
        return self.read(spec, {partition: bounds[partition] for partition in wanted})


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again while a partition or group that is new on its broker has no leader or coordinator yet.

    Raises:
        TransientError: the broker is away, or takes too long.
    """
    gives_up_at_s = time.monotonic() + _ANSWER_TIMEOUT_S
    while True:
        try:
            return ask()
        except (KafkaException, TimeoutError) as error:
            cause = error.args[0] if isinstance(error, KafkaException) else None
            if cause is None or cause.code() not in _NOT_YET or time.monotonic() > gives_up_at_s:
                raise TransientError(f"Kafka: {cause.str() if cause else 'no answer in time'}") from error
            time.sleep(0.1)


def _is_unknown_group(error: BaseException | None) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND


def _fetch(consumer: Consumer) -> list[Message]:
    # `consume` waits for as many records as it may return; asked without waiting, it returns what is there.
    first = consumer.poll(0.1)
    return [] if first is None else [first, *consumer.consume(_AT_ONCE, 0)]


class LogFollower:
    """Folds one topic into something, each record once: every call goes on where the last one ended.

    Args:
        scan: reads.
        spec: which topic.
        take: called with every record, in log order within each partition.
    """

    def __init__(self, scan: LogScan, spec: TopicSpec, take: Callable[[Message], None]) -> None:
        self._scan = scan
        self._spec = spec
        self._take = take
        self._positions: dict[int, int] = {}

    def catch_up(self) -> None:
        """Take in what was committed since.

        Raises:
            UsageError: the topic does not exist.
            TransientError: the broker is away; the next call goes on.
        """
        bounds = self._scan.bounds(self._spec)
        ranges = {p: range(max(r.start, self._positions.get(p, 0)), r.stop) for p, r in bounds.items()}
        for message in self._scan.read(self._spec, ranges):
            self._take(message)
            self._positions[partition_of(message)] = offset_of(message) + 1
        self._positions |= {partition: wanted.stop for partition, wanted in ranges.items()}
