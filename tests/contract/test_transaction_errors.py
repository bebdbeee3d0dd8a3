"""What librdkafka's transactional producer says when something ends its transaction, and what helps then.

The engine tells three kinds apart: an abortable error (abort, send again), a fatal one (this producer object is spent,
a new one under the same id goes on), and a passing one (the outcome is open, the same call may be repeated).
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # the client does not export it by name

from streams.engine import kafka as engine_kafka
from streams.settings import KafkaSettings

pytestmark = pytest.mark.stack

TRANSACTION_TIMEOUT_S = 1.5
"""Short, so that the coordinator ends what was left open while the test waits."""
SPENT = frozenset(
    {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.INVALID_TXN_STATE, KafkaError._FATAL}
)


@pytest.fixture
def settings(kafka: str, namespace: str) -> KafkaSettings:
    """Where the broker is, and a namespace of the test's own."""
    return KafkaSettings(bootstrap_servers=kafka, namespace=namespace)


@pytest.fixture
def topic(settings: KafkaSettings) -> str:
    """A topic with one partition."""
    name = f"{settings.namespace}topic"
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])[name].result(20)
    return name


@pytest.fixture
def member(settings: KafkaSettings, topic: str) -> Iterator[Consumer]:
    """A group's only member; transactions commit the group's offset under its metadata."""
    consumer = Consumer(
        engine_kafka.stage_consumer(
            settings, client_id="test", group_id=settings.namespace + "group", instance_id="member"
        )
    )
    with closing(consumer):
        consumer.subscribe([topic])
        while not consumer.assignment():
            consumer.poll(0.1)
        yield consumer


def started(settings: KafkaSettings) -> Producer:
    """A producer as the engine's under the test's one transactional id, ready for its first transaction."""
    producer = Producer(
        engine_kafka.transactional_producer(settings, client_id="test", transactional_id=settings.namespace + "id")
        | {"transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000)}
    )
    producer.init_transactions(20)
    return producer


def write(producer: Producer, topic: str, value: bytes) -> None:
    """One record that the broker has."""
    producer.produce(topic, value=value, partition=0)
    assert producer.flush(10) == 0


def send_offset(producer: Producer, topic: str, offset: int, member: Consumer) -> None:
    """The group's offset as part of the transaction."""
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, offset)], member.consumer_group_metadata(), 20)


def outlive_the_timeout(member: Consumer) -> None:
    """Wait until the coordinator, which looks every second, has aborted what is open; the member stays one."""
    until_s = time.monotonic() + TRANSACTION_TIMEOUT_S + 2.5
    while time.monotonic() < until_s:
        member.poll(0.1)


def committed_offset(settings: KafkaSettings, topic: str) -> int:
    """The group's stable offset, as a new consumer is told it."""
    config = engine_kafka.log_reader(settings, client_id="test") | {"group.id": settings.namespace + "group"}
    with closing(Consumer(config)) as consumer:
        offset: int = consumer.committed([TopicPartition(topic, 0)], 10)[0].offset
        return offset


def committed_values(settings: KafkaSettings, topic: str) -> list[bytes]:
    """All committed records."""
    values: list[bytes] = []
    with closing(Consumer(engine_kafka.log_reader(settings, client_id="test"))) as consumer:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if (error := message.error()) is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                return values
            values.append(message.value() or b"")
    raise AssertionError(f"no end of {topic} within 10 s; read so far: {values}")


def refusal(call: Callable[[], object]) -> KafkaError:
    """The error that a call ends with."""
    with pytest.raises(KafkaException) as raised:
        call()
    error: KafkaError = raised.value.args[0]
    return error


# Each step finds the transaction ended by the coordinator; all that came before it had succeeded.
LATE_STEPS: dict[str, Callable[[Producer, str, Consumer], object]] = {
    "offsets": lambda producer, topic, member: send_offset(producer, topic, 1, member),
    "commit": lambda producer, *_: producer.commit_transaction(20),
    "abort": lambda producer, *_: producer.abort_transaction(20),
}


@pytest.mark.parametrize("step", LATE_STEPS)
def test_a_transaction_that_outlives_its_timeout_is_a_fatal_error_and_was_aborted(
    settings: KafkaSettings, topic: str, member: Consumer, step: str
) -> None:
    """The next call says so, abort cannot help, the group's offset tells the truth, and a new producer goes on."""
    producer = started(settings)
    producer.begin_transaction()
    write(producer, topic, b"late")
    if step == "commit":
        send_offset(producer, topic, 1, member)
    outlive_the_timeout(member)

    error = refusal(lambda: LATE_STEPS[step](producer, topic, member))
    assert error.fatal()
    assert not error.retriable()
    assert not error.txn_requires_abort()
    assert error.code() in SPENT
    assert refusal(lambda: producer.abort_transaction(20)).fatal()

    successor = started(settings)
    assert committed_offset(settings, topic) < 0, "the aborted transaction's offset must not count"
    successor.begin_transaction()
    write(successor, topic, b"again")
    send_offset(successor, topic, 1, member)
    successor.commit_transaction(20)
    assert committed_offset(settings, topic) == 1
    assert committed_values(settings, topic) == [b"again"]


def test_of_two_producers_under_one_id_the_older_is_spent_and_can_take_over_again(
    settings: KafkaSettings, topic: str, member: Consumer
) -> None:
    """Being fenced looks like a timeout: only who sees it again and again may conclude that there is another one."""
    older = started(settings)
    older.begin_transaction()
    write(older, topic, b"older")
    newer = started(settings)
    error = refusal(lambda: send_offset(older, topic, 1, member))
    assert error.fatal()
    assert error.code() in SPENT

    again = started(settings)
    newer.begin_transaction()
    newer.produce(topic, value=b"newer", partition=0)
    assert refusal(lambda: newer.commit_transaction(20)).fatal()
    again.begin_transaction()
    write(again, topic, b"again")
    again.commit_transaction(20)
    assert committed_values(settings, topic) == [b"again"]


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that takes connections and never says a word, as a frozen broker does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_taking_over_an_id_from_a_silent_broker_ends_in_time_and_may_be_tried_again(nobody: str) -> None:
    """`init_transactions` keeps to its timeout; its error is a passing one and the same object may call again."""
    settings = KafkaSettings(bootstrap_servers=nobody, namespace="")
    config: dict[str, Any] = engine_kafka.transactional_producer(settings, client_id="test", transactional_id="id")
    producer = Producer(config)
    for _ in range(2):
        begun_s = time.monotonic()
        error = refusal(lambda: producer.init_transactions(1.0))
        assert time.monotonic() - begun_s < 5
        assert error.code() == KafkaError._TIMED_OUT
        assert error.retriable()
        assert not error.fatal()
