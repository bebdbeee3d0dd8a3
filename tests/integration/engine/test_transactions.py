"""Transactions on a real Kafka: all of a batch or nothing of it."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from e2e.log_history import LogFollower, LogHistory

from streams.engine import kafka
from streams.engine.stage import Output
from streams.engine.steps import Step
from streams.engine.transactions import RecordTooLargeError, Transactions
from streams.settings import Settings
from topology.topics import CANDIDATES, CONVERSATION_EVENTS, EMBEDDED, LEDGER, TopicSpec

pytestmark = pytest.mark.stack


@pytest.fixture
def joined(light_settings: Settings) -> Any:
    """A group's only member."""
    consumer = Consumer(
        kafka.stage_consumer(
            light_settings.kafka,
            client_id="test",
            group_id=light_settings.kafka.namespace + "group",
            instance_id="test",
        )
    )

    def assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            partition.offset = OFFSET_BEGINNING
        consumer.incremental_assign(partitions)

    consumer.subscribe([light_settings.kafka.namespace + CONVERSATION_EVENTS.name], on_assign=assign)
    while not consumer.assignment():
        consumer.poll(0.1)
    yield consumer
    consumer.close()


@pytest.fixture
def steps() -> list[Step]:
    """What the transactions of a test came through."""
    return []


@pytest.fixture
async def transactions(light_settings: Settings, steps: list[Step]) -> AsyncIterator[Transactions]:
    """Started."""
    made = Transactions(
        kafka.transactional_producer(
            light_settings.kafka, client_id="test", transactional_id=light_settings.kafka.namespace + "id"
        ),
        kafka.producer(light_settings.kafka, client_id="test"),
        kafka.group_positions(
            light_settings.kafka, client_id="test", group_id=light_settings.kafka.namespace + "group"
        ),
        namespace=light_settings.kafka.namespace,
        monotonic_s=time.monotonic,
        observe=steps.append,
    )
    await made.start()
    yield made
    await made.stop()


def output(topic: TopicSpec, value: bytes, partition: int = 0) -> Output:
    """One record."""
    return Output(topic=topic, partition=partition, key=b"k", value=value, headers=[("h", b"1")])


def values(history: LogHistory, topic: TopicSpec) -> list[bytes | None]:
    """What a committed reader sees of a topic."""
    return [record.value for p in range(history.partitions) for record in history.of(topic, p)]


async def test_a_commit_writes_outputs_and_offsets_together(
    light_settings: Settings, joined: Consumer, transactions: Transactions
) -> None:
    """Outputs on several topics and partitions are there, in their order, and the group stands behind the batch."""
    outputs = [output(CANDIDATES, b"a"), output(CANDIDATES, b"b"), output(EMBEDDED, b"c", 3), output(LEDGER, b"d", 1)]
    topic = light_settings.kafka.namespace + CONVERSATION_EVENTS.name
    await transactions.commit(
        outputs,
        offsets=[TopicPartition(topic, 0, 42), TopicPartition(topic, 2, 7)],
        metadata=joined.consumer_group_metadata(),
    )
    with LogFollower(light_settings) as follower:
        follower.read_on()
        assert values(follower.history, CANDIDATES) == [b"a", b"b"]
        assert [(r.key, r.value, r.headers) for r in follower.history.of(EMBEDDED, 3)] == [(b"k", b"c", [("h", b"1")])]
        assert values(follower.history, LEDGER) == [b"d"]
    committed = joined.committed([TopicPartition(topic, p) for p in (0, 2)], 10)
    assert [place.offset for place in committed] == [42, 7]


async def test_positions_alone_are_no_batch_to_observe(
    light_settings: Settings, joined: Consumer, transactions: Transactions, steps: list[Step]
) -> None:
    """A commit of marks comes through no step of a batch, one with outputs through both of them."""
    place = TopicPartition(light_settings.kafka.namespace + CONVERSATION_EVENTS.name, 0, 42)
    await transactions.commit([], offsets=[place], metadata=joined.consumer_group_metadata())
    assert steps == []
    await transactions.commit([output(LEDGER, b"d")], offsets=[place], metadata=joined.consumer_group_metadata())
    assert steps == [Step.PRODUCED, Step.COMMITTING]


async def test_a_commit_that_fails_leaves_neither_outputs_nor_offsets(
    light_settings: Settings, joined: Consumer, transactions: Transactions
) -> None:
    """One output that cannot be written takes the whole batch with it; only an uncommitted reader finds its traces."""
    topic = light_settings.kafka.namespace + CONVERSATION_EVENTS.name
    too_large = output(CANDIDATES, bytes(17 * 1024 * 1024))
    with pytest.raises(RecordTooLargeError):
        await transactions.commit(
            [output(EMBEDDED, b"a"), too_large],
            offsets=[TopicPartition(topic, 0, 42)],
            metadata=joined.consumer_group_metadata(),
        )
    with LogFollower(light_settings) as follower:
        follower.read_on()
        assert not follower.history.records
    assert joined.committed([TopicPartition(topic, 0)], 10)[0].offset < 0


async def test_what_is_published_outside_a_transaction_is_acknowledged_and_placed_by_its_key(
    light_settings: Settings, transactions: Transactions
) -> None:
    """Copies and markers are in the log when `publish` returns, without any commit, where the partitioner puts them."""
    from topology.keys import murmur2

    copies = [
        Output(topic=CONVERSATION_EVENTS, partition=None, key=b"acme/user-%d" % n, value=b"%d" % n) for n in range(20)
    ]
    await transactions.publish(copies)
    with LogFollower(light_settings) as follower:
        follower.read_on()
        placed = {r.key: p for p in range(4) for r in follower.history.of(CONVERSATION_EVENTS, p)}
    assert placed == {copy.key: murmur2(copy.key or b"") % 4 for copy in copies}
