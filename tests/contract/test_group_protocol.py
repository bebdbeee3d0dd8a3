"""What the engine relies on under the new group protocol (KIP-848), and where it differs from classic groups.

`test_kafka_client.py` holds what is the same under both.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # the client does not export it by name

from streams.engine import group_configs
from streams.engine import kafka as engine_kafka
from streams.errors import RefusedError
from streams.settings import KafkaSettings

pytestmark = pytest.mark.stack

SESSION_S = 6.0
"""The shortest that the brokers of our stacks allow."""


@pytest.fixture
def settings(kafka: str, namespace: str) -> KafkaSettings:
    """Where the broker is, a namespace of the test's own, and a short session."""
    return KafkaSettings(
        bootstrap_servers=kafka,
        namespace=namespace,
        group_protocol="consumer",
        session_timeout=timedelta(seconds=SESSION_S),
    )


@pytest.fixture
def topic(settings: KafkaSettings) -> str:
    """A topic with four partitions."""
    name = f"{settings.namespace}topic"
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.create_topics([NewTopic(name, num_partitions=4, replication_factor=1)])[name].result(20)
    return name


class Member:
    """A member of the test's group as a stage's consumer is, with what it was told."""

    def __init__(self, settings: KafkaSettings, topic: str, name: str, **config: Any) -> None:
        self.topic = topic
        self.told: list[str] = []
        self.errors: list[KafkaError] = []
        self.on_revoke: Callable[[], None] = lambda: None
        group_configs.apply(settings, [settings.namespace + "group"])
        self.consumer = Consumer(member_config(settings, name) | {"logger": engine_kafka.CLIENT_LOG} | config)
        self.consumer.subscribe([topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lost)

    @property
    def partitions(self) -> set[int]:
        """What it has."""
        return {p.partition for p in self.consumer.assignment()}

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.told.append(f"assigned {len(partitions)}")
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, OFFSET_BEGINNING) for p in partitions])

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.told.append(f"revoked {len(partitions)}")
        self.on_revoke()
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.told.append(f"lost {len(partitions)}")
        consumer.incremental_unassign(partitions)


def member_config(settings: KafkaSettings, name: str) -> dict[str, Any]:
    """As in the engine, but without the logger, which is no JSON."""
    config = engine_kafka.stage_consumer(
        settings, client_id=name, group_id=settings.namespace + "group", instance_id=name
    )
    del config["logger"]
    return config


@pytest.fixture
def join(settings: KafkaSettings, topic: str) -> Iterator[Callable[..., Member]]:
    """Makes members, which leave at the end."""
    members: list[Member] = []

    def join(name: str, protocol: Literal["classic", "consumer"] = "consumer", **config: Any) -> Member:
        members.append(Member(replace(settings, group_protocol=protocol), topic, name, **config))
        return members[-1]

    yield join
    for member in members:
        member.consumer.close()


def poll_until(condition: Callable[[], bool], *members: Member, within_s: float = 30.0) -> float:
    """Let members poll until a condition holds; returns how long it took."""
    begun_s = time.monotonic()
    while not condition():
        told = {m.consumer.memberid(): m.told for m in members}
        assert time.monotonic() - begun_s < within_s, f"it did not come to that: {told}"
        for member in members:
            message = member.consumer.poll(0.05)
            error = message.error() if message is not None else None
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                member.errors.append(error)
    return time.monotonic() - begun_s


class Killed:
    """A member in a process of its own that has joined the group and was killed."""

    def __init__(self, config: dict[str, Any], topic: str) -> None:
        script = Path(__file__).with_name("group_member.py")
        process = subprocess.Popen(
            [sys.executable, script, json.dumps(config), topic], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            self.partitions = set(json.loads(process.stdout.readline()))
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def commit(settings: KafkaSettings) -> Callable[..., None]:
    """Commits an offset of a partition in a transaction under given metadata."""
    producer = Producer(
        engine_kafka.transactional_producer(settings, client_id="test", transactional_id=settings.namespace + "id")
    )
    producer.init_transactions(20)

    def commit(member: Member, partition: int, offset: int, metadata: Any) -> None:
        producer.begin_transaction()
        try:
            producer.send_offsets_to_transaction([TopicPartition(member.topic, partition, offset)], metadata, 20)
            producer.commit_transaction(20)
        except KafkaException:
            producer.abort_transaction(20)  # raises where the error is more than an abortable one
            raise

    return commit


# --- timeouts belong to the group ---


@pytest.mark.parametrize("name", ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"])
def test_the_client_refuses_what_the_broker_decides(settings: KafkaSettings, name: str) -> None:
    """Classic settings under the new protocol are an error and not ignored: there is a config for each protocol."""
    classic = engine_kafka.stage_consumer(
        replace(settings, group_protocol="classic"), client_id="test", group_id="g", instance_id="i"
    )
    with pytest.raises(KafkaException, match=name):
        Consumer(member_config(settings, "test") | {name: classic[name]})


def test_a_timeout_that_the_broker_forbids_is_refused_with_what_to_do(settings: KafkaSettings) -> None:
    """Nothing is silently another length: the error names the broker's setting and ours."""
    with pytest.raises(RefusedError, match=r"group\.consumer\.min\.session.*MEMSTREAM_KAFKA_SESSION_TIMEOUT"):
        group_configs.apply(replace(settings, session_timeout=timedelta(seconds=1)), ["any"])


def test_a_timeout_may_be_set_again_and_changed(settings: KafkaSettings) -> None:
    """Workers set it at every start; a new value counts for a group that has one."""
    for session_s in (6, 6, 10):
        group_configs.apply(replace(settings, session_timeout=timedelta(seconds=session_s)), ["any"])


# --- members that die ---


def test_what_a_killed_member_had_is_free_when_its_session_ends(
    settings: KafkaSettings, topic: str, join: Callable[..., Member]
) -> None:
    """Its successor joins at once, gets it after the group's session timeout and not the broker's 45 s; no error."""
    group_configs.apply(settings, [settings.namespace + "group"])
    killed = Killed(member_config(settings, "first"), topic)
    assert killed.partitions == {0, 1, 2, 3}
    successor = join("first")
    took_s = poll_until(lambda: len(successor.partitions) == 4, successor)
    assert 1 < took_s < 3 * SESSION_S
    assert not successor.errors


def test_with_an_instance_id_the_successor_of_a_killed_member_fails_for_good(
    settings: KafkaSettings, topic: str, join: Callable[..., Member]
) -> None:
    """Why stages have none under this protocol: the client is spent, while a classic successor takes over at once."""
    Killed(member_config(settings, "first") | {"group.instance.id": "first"}, topic)
    successor = join("first", **{"group.instance.id": "first"})
    poll_until(lambda: bool(successor.errors), successor)
    assert successor.errors[0].code() == KafkaError._FATAL
    assert "instance ID is still used" in successor.errors[0].str()
    assert not successor.partitions


# --- partitions that move ---


def test_a_member_that_leaves_hands_over_at_once(join: Callable[..., Member]) -> None:
    """A classic static member keeps its partitions for its session; here the next owner has them with a heartbeat."""
    first, second = join("first"), join("second")
    poll_until(lambda: len(first.partitions) == len(second.partitions) == 2, first, second)
    first.consumer.close()
    assert poll_until(lambda: len(second.partitions) == 4, second) < SESSION_S
    assert second.told[-1] == "assigned 2", "it was not incremental"


def test_callbacks_are_incremental_and_a_member_keeps_what_stays(join: Callable[..., Member]) -> None:
    """What stays is in no callback; a member is also told of an assignment that adds nothing."""
    first = join("first")
    poll_until(lambda: len(first.partitions) == 4, first)
    second = join("second")
    poll_until(lambda: len(second.partitions) == 2, first, second)
    assert [told for told in first.told if told != "assigned 0"] == ["assigned 4", "revoked 2"]
    assert second.told[-1] == "assigned 2"
    assert not first.partitions & second.partitions


def test_a_commit_counts_while_its_partition_is_being_revoked(
    join: Callable[..., Member], commit: Callable[..., None]
) -> None:
    """The member's epoch stays until it has given the partition back, and nobody has the partition before."""
    first = join("first")
    poll_until(lambda: len(first.partitions) == 4, first)
    second = join("second")
    had_meanwhile: list[set[int]] = []

    def end_what_is_open() -> None:
        until_s = time.monotonic() + 3  # more than two heartbeats
        while time.monotonic() < until_s:
            second.consumer.poll(0.1)
        had_meanwhile.append(second.partitions)
        for partition in range(4):
            commit(first, partition, 1, first.consumer.consumer_group_metadata())

    first.on_revoke = end_what_is_open
    poll_until(lambda: len(second.partitions) == 2, first, second)
    first.on_revoke = lambda: None
    assert had_meanwhile == [set()]
    places = [TopicPartition(first.topic, p) for p in range(4)]
    assert [p.offset for p in second.consumer.committed(places, 20)] == [1, 1, 1, 1]


def test_metadata_ages_with_every_rebalance_even_where_nothing_is_taken(
    join: Callable[..., Member], commit: Callable[..., None]
) -> None:
    """Somebody else's leaving bumps the epoch of a member that only gains: its old metadata is refused, abortably."""
    first, second = join("first"), join("second")
    poll_until(lambda: len(first.partitions) == len(second.partitions) == 2, first, second)
    kept = min(first.partitions)
    stale = first.consumer.consumer_group_metadata()
    second.consumer.close()
    poll_until(lambda: len(first.partitions) == 4, first)
    with pytest.raises(KafkaException) as refused:
        commit(first, kept, 1, stale)
    assert refused.value.args[0].code() == KafkaError.ILLEGAL_GENERATION
    commit(first, kept, 1, first.consumer.consumer_group_metadata())


def test_a_lost_member_has_no_valid_metadata_before_it_is_told(
    join: Callable[..., Member], commit: Callable[..., None]
) -> None:
    """Metadata fences members, not partitions: a rejoin before the callback would let a zombie's commit through."""
    slow = join("slow", **{"max.poll.interval.ms": 6000})
    poll_until(lambda: len(slow.partitions) == 4, slow)
    successor = join("successor")
    poll_until(lambda: len(successor.partitions) == 4, successor)  # while the slow one does not poll
    given_up_s = time.monotonic() + 20
    polls_from_s = time.monotonic() + 4  # two heartbeats and more
    while not any(told.startswith("lost") for told in slow.told):
        assert time.monotonic() < given_up_s, slow.told
        with pytest.raises(KafkaException) as refused:
            commit(slow, 0, 1, slow.consumer.consumer_group_metadata())
        assert refused.value.args[0].code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION)
        successor.consumer.poll(0.2)
        if time.monotonic() > polls_from_s:
            slow.consumer.poll(0)
    # It was asked for two when the other one joined; that callback waited, and the loss of the others behind it.
    assert [told for told in slow.told if told != "assigned 0"] == ["assigned 4", "revoked 2", "lost 2"]


# --- from one protocol to the other ---


def test_members_of_both_protocols_share_a_group(join: Callable[..., Member], commit: Callable[..., None]) -> None:
    """Workers can be moved one by one: each has its part, and the commits of each are accepted."""
    classic = join("classic", protocol="classic")
    poll_until(lambda: len(classic.partitions) == 4, classic)
    new = join("new")
    poll_until(lambda: len(classic.partitions) == len(new.partitions) == 2, classic, new)
    for member in (classic, new):
        for partition in member.partitions:
            commit(member, partition, 1, member.consumer.consumer_group_metadata())
