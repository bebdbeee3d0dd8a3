"""Every behaviour of librdkafka and of the broker that the engine relies on; a new version must pass this first.

Clients are configured by `streams.engine.kafka`, as in the engine, so that its settings are held to their purpose too.
More than 400 lines because one client's behaviours are easiest to check against its change log in one place.
"""

import json
import operator
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import bad_headers
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.engine import group_configs
from streams.engine import kafka as engine_kafka
from streams.engine.stage import Output
from streams.engine.transactions import RecordTooLargeError, Transactions
from streams.errors import FencedError, TransientError
from streams.settings import KafkaSettings
from topology.topics import CONVERSATION_EVENTS, DLQ, HEADS

pytestmark = pytest.mark.stack

TAKEOVER_LIMIT_S = 2.0


@pytest.fixture
def settings(kafka: str, namespace: str, request: pytest.FixtureRequest) -> KafkaSettings:
    """Where the broker is, and a namespace of the test's own; classic groups unless a test asks for both protocols."""
    protocol = getattr(request, "param", "classic")
    return KafkaSettings(bootstrap_servers=kafka, namespace=namespace, group_protocol=protocol)


both_protocols = pytest.mark.parametrize("settings", ["classic", "consumer"], indirect=True)


@pytest.fixture
def topic(settings: KafkaSettings) -> str:
    """A topic with one partition."""
    return create_topic(settings, CONVERSATION_EVENTS.name)


@pytest.fixture
def consumers() -> Iterator[list[Consumer]]:
    """Consumers that are closed at the end."""
    opened: list[Consumer] = []
    yield opened
    for consumer in opened:
        consumer.close()


def create_topic(settings: KafkaSettings, name: str, *, partitions: int = 1, **configs: str) -> str:
    """A topic in the test's namespace."""
    full_name = settings.namespace + name
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.create_topics([NewTopic(full_name, num_partitions=partitions, replication_factor=1, config=configs)])[
        full_name
    ].result(20)
    return full_name


def reader(settings: KafkaSettings, consumers: list[Consumer], place: TopicPartition, **more: Any) -> Consumer:
    """A consumer as the engine's log reader, at a place."""
    consumers.append(Consumer(engine_kafka.log_reader(settings, client_id="test") | more))
    consumers[-1].assign([place])
    return consumers[-1]


def transactional(settings: KafkaSettings, name: str = "t", **more: Any) -> Producer:
    """A producer as the engine's, ready for its first transaction."""
    config = engine_kafka.transactional_producer(settings, client_id="test", transactional_id=settings.namespace + name)
    producer = Producer(config | more)
    producer.init_transactions(30)
    return producer


def produce(settings: KafkaSettings, topic: str, *values: bytes) -> None:
    """Records outside any transaction."""
    producer = Producer(engine_kafka.producer(settings, client_id="test"))
    for value in values:
        producer.produce(topic, value=value, partition=0)
    assert producer.flush(20) == 0


def read_values(consumer: Consumer, *, for_s: float = 5.0) -> tuple[list[bytes], int | None]:
    """Values up to the end of the partition, and the offset that the end was reported with, if it was in time."""
    values: list[bytes] = []
    deadline_s = time.monotonic() + for_s
    while time.monotonic() < deadline_s:
        for message in consumer.consume(1000, 0.1):
            if (error := message.error()) is None:
                values.append(message.value() or b"")
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                return values, message.offset()
    return values, None


# --- fetching ---


def test_a_header_name_that_is_no_utf8_fails_at_the_first_look_and_can_be_let_go_of(
    settings: KafkaSettings, topic: str, consumers: list[Consumer]
) -> None:
    """The first look is a SystemError; a second one would end the process, so headers are replaced before it."""
    bad_headers.produce(settings.bootstrap_servers, topic, 0, [(b"k", b"v")])
    message = reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING)).poll(10)
    assert message is not None
    with pytest.raises(SystemError):
        operator.methodcaller("headers")(message)
    message.set_headers([])
    assert message.headers() == []
    assert (message.key(), message.value()) == (b"k", b"v")


def test_consume_without_a_timeout_returns_at_once_what_is_queued(
    settings: KafkaSettings, topic: str, consumers: list[Consumer]
) -> None:
    """After a poll, `consume(n, 0)` gives what has been fetched already, and an empty list when that is nothing."""
    produce(settings, topic, *(b"%d" % n for n in range(500)))
    consumer = reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING))
    first = consumer.poll(10)
    assert first is not None
    time.sleep(0.3)
    begun_s = time.monotonic()
    rest = consumer.consume(4000, 0)
    assert [m.value() for m in [first, *rest] if m.error() is None] == [b"%d" % n for n in range(500)]
    assert consumer.consume(4000, 0) == []
    assert time.monotonic() - begun_s < 0.1


def test_the_broker_collects_for_a_consumer_that_gathers(
    settings: KafkaSettings, topic: str, consumers: list[Consumer]
) -> None:
    """Records that come one by one are handed over some at a time, at most 20 times a second, and none waits long."""
    start = TopicPartition(topic, 0, OFFSET_BEGINNING)
    consumer = reader(settings, consumers, start, **engine_kafka.GATHERS)
    producer = Producer(engine_kafka.producer(settings, client_id="test"))
    begun_s, sent, chunks = time.monotonic(), 0, list[int]()
    while sum(chunks) < 200:
        if sent < 200:
            producer.produce(topic, value=b"one", partition=0)
            assert producer.flush(20) == 0
            sent += 1
        if found := [m for m in consumer.consume(4000, 0.005) if m.error() is None]:
            chunks.append(len(found))
        assert time.monotonic() - begun_s < 60
    took_s = time.monotonic() - begun_s
    assert len(chunks) <= took_s / 0.05 + 2
    assert max(chunks) > 1, f"{chunks}: nothing was collected, this proves nothing"


def test_the_end_of_a_partition_is_reported_with_its_offset(
    settings: KafkaSettings, topic: str, consumers: list[Consumer]
) -> None:
    """The end lies behind the last record and its transaction's marker, and is said again after new records."""
    producer = transactional(settings)
    producer.begin_transaction()
    producer.produce(topic, value=b"a", partition=0)
    producer.produce(topic, value=b"b", partition=0)
    producer.commit_transaction(20)
    consumer = reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING))
    assert read_values(consumer) == ([b"a", b"b"], 3)  # two records and a marker
    assert read_values(consumer, for_s=0.5) == ([], None)
    produce(settings, topic, b"c")
    assert read_values(consumer) == ([b"c"], 4)


def test_the_end_may_come_in_one_fetch_with_records(
    settings: KafkaSettings, topic: str, consumers: list[Consumer]
) -> None:
    """Records and the end behind them stand in one list: whoever handles the end first would forget it."""
    produce(settings, topic, b"a", b"b")
    seen: list[list[int | None]] = []
    for patience_s in (0.5, 1, 2, 4):  # the fetch runs in the background; nothing is taken meanwhile
        consumer = reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING))
        time.sleep(patience_s)
        seen.append([error and error.code() for error in (m.error() for m in consumer.consume(10, 0))])
        if len(seen[-1]) == 3:
            break
    assert seen[-1] == [None, None, KafkaError._PARTITION_EOF], seen


def test_a_position_that_the_log_no_longer_has_is_an_error(
    settings: KafkaSettings, topic: str, consumers: list[Consumer]
) -> None:
    """With `auto.offset.reset=error` an offset out of range is said, and no record comes from elsewhere."""
    produce(settings, topic, b"a")
    consumer = reader(settings, consumers, TopicPartition(topic, 0, 1000))
    seen = None
    deadline_s = time.monotonic() + 10
    while seen is None and time.monotonic() < deadline_s:
        seen = consumer.poll(0.2)
    assert seen is not None
    error = seen.error()
    assert error is not None
    assert error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
    assert seen.partition() == 0
    assert not error.retriable()


# --- reading committed records ---


def test_committed_readers_wait_for_an_open_transaction_and_never_see_an_aborted_one(
    settings: KafkaSettings, topic: str, consumers: list[Consumer]
) -> None:
    """They stop before the first open transaction, even for records behind it, and go on when it has ended."""
    producer = transactional(settings)
    producer.begin_transaction()
    producer.produce(topic, value=b"aborted", partition=0)
    producer.flush(20)
    produce(settings, topic, b"behind")
    consumer = reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING))
    assert read_values(consumer)[0] == []
    producer.abort_transaction(20)
    values: list[bytes] = []
    for _ in range(20):
        values += read_values(consumer, for_s=1)[0]
        if values:
            break
    assert values == [b"behind"]


def test_watermarks_depend_on_the_isolation_level(
    settings: KafkaSettings, topic: str, consumers: list[Consumer]
) -> None:
    """A committed reader is told the last stable offset, an uncommitted one the end, which the gate needs."""
    produce(settings, topic, b"a")
    producer = transactional(settings)
    producer.begin_transaction()
    producer.produce(topic, value=b"open", partition=0)
    producer.flush(20)
    place = TopicPartition(topic, 0)
    committed = reader(settings, consumers, place)
    uncommitted = reader(settings, consumers, place, **{"isolation.level": "read_uncommitted"})
    assert committed.get_watermark_offsets(place, timeout=10, cached=False) == (0, 1)
    assert uncommitted.get_watermark_offsets(place, timeout=10, cached=False) == (0, 2)
    producer.commit_transaction(20)


# --- groups ---


def member(settings: KafkaSettings, topic: str, instance: str, group: str = "group") -> Consumer:
    """A consumer as a stage's, subscribed; it remembers what it was assigned."""
    group_configs.apply(settings, [settings.namespace + group])
    consumer = Consumer(member_config(settings, instance, group) | {"logger": engine_kafka.CLIENT_LOG})

    def assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            partition.offset = OFFSET_BEGINNING
        consumer.incremental_assign(partitions)

    consumer.subscribe([topic], on_assign=assign)
    return consumer


def member_config(settings: KafkaSettings, instance: str, group: str = "group") -> dict[str, Any]:
    """Without the logger, which is no JSON."""
    config = engine_kafka.stage_consumer(
        settings, client_id=instance, group_id=settings.namespace + group, instance_id=instance
    )
    del config["logger"]
    return config


def poll_until(consumer: Consumer, condition: Callable[[], bool], within_s: float = 30.0) -> float:
    """Poll until a condition holds; returns how long it took."""
    begun_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begun_s < within_s, "it did not come to that"
        consumer.poll(0.05)
    return time.monotonic() - begun_s


@pytest.fixture
def joined(settings: KafkaSettings, topic: str, consumers: list[Consumer]) -> Consumer:
    """A group's only member, which holds the topic's only partition."""
    consumers.append(member(settings, topic, "first"))
    poll_until(consumers[-1], lambda: bool(consumers[-1].assignment()))
    return consumers[-1]


@both_protocols
def test_the_committed_offset_waits_for_a_predecessors_open_transaction(
    settings: KafkaSettings, topic: str, joined: Consumer
) -> None:
    """While a transaction with the group's offsets is open, `committed` says nothing; then the new offset."""
    produce(settings, topic, b"a", b"b")
    place = TopicPartition(topic, 0)
    producer = transactional(settings)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, 2)], joined.consumer_group_metadata(), 20)
    try:
        positions = joined.committed([place], 1.0)
    except KafkaException as error:
        assert error.args[0].code() == KafkaError._TIMED_OUT  # noqa: PT017  (either way of saying it is fine)
    else:
        assert positions[0].error is not None, f"an unstable offset was given as stable: {positions}"
    threading.Timer(0.5, lambda: producer.commit_transaction(20)).start()
    begun_s = time.monotonic()
    assert [p.offset for p in joined.committed([place], 20.0)] == [2]
    assert time.monotonic() - begun_s < 5


def test_a_killed_member_is_succeeded_at_once_under_the_same_instance_id(
    settings: KafkaSettings, consumers: list[Consumer]
) -> None:
    """Static membership: the successor of a SIGKILLed member has its partitions in seconds, not after the session."""
    topic = create_topic(settings, CONVERSATION_EVENTS.name, partitions=4)
    script = Path(__file__).with_name("group_member.py")
    config = json.dumps(member_config(settings, "the-one"))
    killed = subprocess.Popen([sys.executable, script, config, topic], stdout=subprocess.PIPE, text=True)
    try:
        assert killed.stdout is not None
        assert json.loads(killed.stdout.readline()) == [0, 1, 2, 3]
    finally:
        killed.kill()
        killed.communicate()
    successor = member(settings, topic, "the-one")
    consumers.append(successor)
    took_s = poll_until(successor, lambda: len(successor.assignment()) == 4)
    assert took_s < TAKEOVER_LIMIT_S
    assert settings.session_timeout.total_seconds() > 2 * TAKEOVER_LIMIT_S, "the session would have ended anyway"


# --- transactions ---


@pytest.fixture
async def transactions(settings: KafkaSettings) -> AsyncIterator[Callable[..., Any]]:
    """Makes started `Transactions` by transactional id."""
    started: list[Transactions] = []

    async def start(name: str = "t") -> Transactions:
        made = Transactions(
            engine_kafka.transactional_producer(settings, client_id="test", transactional_id=settings.namespace + name),
            engine_kafka.producer(settings, client_id="test"),
            engine_kafka.group_positions(settings, client_id="test", group_id=f"{settings.namespace}group"),
            namespace=settings.namespace,
            monotonic_s=time.monotonic,
        )
        await made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        await made.stop()


def output(value: bytes, spec: Any = CONVERSATION_EVENTS) -> Output:
    """One record."""
    return Output(topic=spec, partition=0, key=None, value=value)


async def test_a_successor_aborts_what_is_open_and_fences_its_predecessor(
    settings: KafkaSettings,
    topic: str,
    joined: Consumer,
    consumers: list[Consumer],
    transactions: Callable[..., Any],
) -> None:
    """Under the same transactional id nothing of the open transaction is ever seen, and the old producer is refused."""
    predecessor = await transactions()
    open_producer = predecessor._producer
    open_producer.begin_transaction()
    open_producer.produce(topic, value=b"open", partition=0)
    open_producer.flush(20)
    successor = await transactions()
    metadata = joined.consumer_group_metadata()
    await successor.commit([output(b"new")], offsets=[], metadata=metadata)
    with pytest.raises(KafkaException) as refused:
        open_producer.commit_transaction(20)
    error = refused.value.args[0]
    assert error.fatal()
    assert error.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError._FATAL)
    with pytest.raises(TransientError, match="given up"):
        await predecessor.commit([output(b"old")], offsets=[], metadata=metadata)
    values, _ = read_values(reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING)))
    assert values == [b"new"]


async def test_a_fenced_producer_is_renewed_with_its_next_commit(
    settings: KafkaSettings,
    topic: str,
    joined: Consumer,
    consumers: list[Consumer],
    transactions: Callable[..., Any],
) -> None:
    """That one commit is given up, whole; the same outputs can be sent again. A timeout looks no different."""
    predecessor = await transactions()
    metadata = joined.consumer_group_metadata()
    await predecessor.commit([output(b"1")], offsets=[], metadata=metadata)
    await transactions()
    with pytest.raises(TransientError, match="given up"):
        await predecessor.commit([output(b"2")], offsets=[], metadata=metadata)
    await predecessor.commit([output(b"2")], offsets=[], metadata=metadata)
    values, _ = read_values(reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING)))
    assert values == [b"1", b"2"]


async def test_a_producer_that_is_fenced_again_and_again_stops(
    topic: str, joined: Consumer, transactions: Callable[..., Any]
) -> None:
    """Somebody else uses its transactional id: two that renew themselves in turn get hardly anything done."""
    assert topic
    metadata = joined.consumer_group_metadata()
    writing = await transactions()

    async def until_it_stops() -> None:
        for _ in range(20):
            await transactions()
            for _ in range(2):  # the second one comes through
                with suppress(TransientError):
                    await writing.commit([output(b"1")], offsets=[], metadata=metadata)

    with pytest.raises(FencedError, match="another process has this worker's instance name"):
        await until_it_stops()


def test_a_record_above_the_clients_own_limit_is_refused_by_produce(settings: KafkaSettings, topic: str) -> None:
    """`message.max.bytes` is checked before anything is sent."""
    producer = transactional(settings, **{"message.max.bytes": 100_000})
    producer.begin_transaction()
    with pytest.raises(KafkaException) as refused:
        producer.produce(topic, value=bytes(200_000))
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    producer.abort_transaction(20)


@pytest.mark.parametrize("size_bytes", [200_000, 20 * 1024 * 1024], ids=["the topic's limit", "the client's limit"])
async def test_an_output_that_does_not_fit_aborts_its_transaction_and_no_other(
    settings: KafkaSettings,
    joined: Consumer,
    consumers: list[Consumer],
    transactions: Callable[..., Any],
    size_bytes: int,
) -> None:
    """Whoever refuses it, `commit` says `RecordTooLargeError`, its neighbours are aborted, and the next batch commits.

    After a refusal by the broker the first attempt of the next batch may fail with a transient error: librdkafka then
    counts the refused records as sent (OUT_OF_ORDER_SEQUENCE_NUMBER) and mends that with a new epoch.
    """
    topic = create_topic(settings, HEADS.name, **{"max.message.bytes": "100000"})
    metadata = joined.consumer_group_metadata()
    writing = await transactions()
    with pytest.raises(RecordTooLargeError):
        await writing.commit(
            [output(b"neighbour", HEADS), output(incompressible(size_bytes), HEADS)], offsets=[], metadata=metadata
        )
    try:
        await writing.commit([output(b"next", HEADS)], offsets=[], metadata=metadata)
    except TransientError:
        await writing.commit([output(b"next", HEADS)], offsets=[], metadata=metadata)
    values, _ = read_values(reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING)))
    assert values == [b"next"]


def incompressible(size_bytes: int) -> bytes:
    """Bytes that no compression makes smaller."""
    return random.Random(7).randbytes(size_bytes)


@both_protocols
async def test_metadata_of_an_old_generation_is_refused_and_may_be_tried_again_with_the_new_one(
    settings: KafkaSettings, topic: str, consumers: list[Consumer], transactions: Callable[..., Any]
) -> None:
    """KIP-447: offsets under the metadata of before a rebalance abort the transaction with a transient error."""
    first = member(settings, topic, "first")
    consumers.append(first)
    poll_until(first, lambda: bool(first.assignment()))
    stale = first.consumer_group_metadata()
    second = member(settings, topic, "second")
    consumers.append(second)

    def both_joined() -> bool:
        second.poll(0.05)
        return len(first.assignment()) + len(second.assignment()) == 1 and bool(second.memberid())

    poll_until(first, both_joined)
    fresh_s = time.monotonic() + 3
    while time.monotonic() < fresh_s:  # until the rebalance that the second one caused is over
        first.poll(0.05)
        second.poll(0.05)
    owner = first if first.assignment() else second
    writing = await transactions()
    with pytest.raises(TransientError):
        await writing.commit([output(b"stale")], offsets=[TopicPartition(topic, 0, 1)], metadata=stale)
    fresh = owner.consumer_group_metadata()
    await writing.commit([output(b"fresh")], offsets=[TopicPartition(topic, 0, 1)], metadata=fresh)
    values, _ = read_values(reader(settings, consumers, TopicPartition(topic, 0, OFFSET_BEGINNING)))
    assert values == [b"fresh"]


async def test_retry_backoff_keeps_commits_fast(
    settings: KafkaSettings, topic: str, joined: Consumer, transactions: Callable[..., Any]
) -> None:
    """With the engine's `retry.backoff.ms` commits in a row take milliseconds; by default every second waits 100."""
    assert topic
    create_topic(settings, DLQ.name)
    metadata = joined.consumer_group_metadata()
    writing = await transactions()
    await writing.commit([output(b"0")], offsets=[TopicPartition(topic, 0, 1)], metadata=metadata)
    took_s = []
    for number in range(20):
        begun_s = time.monotonic()
        await writing.commit(
            [output(b"%d" % number), output(b"%d" % number, DLQ)],
            offsets=[TopicPartition(topic, 0, number + 2)],
            metadata=metadata,
        )
        took_s.append(time.monotonic() - begun_s)
    assert sorted(took_s)[10] < 0.08, f"median of {took_s}"
