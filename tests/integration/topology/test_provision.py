"""Provisioning on a real Kafka: it makes what is missing, mends what differs, refuses what cannot be mended."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export these
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from topology import provision
from topology.provision import DifferenceKind, ProvisionError, Remedy
from topology.topics import CHANGES, CONVERSATION_EVENTS, TOPICS


@pytest.fixture(scope="session")
def admin(kafka: str) -> AdminClient:
    """An operator's hand. Its futures die with it, so it outlives them."""
    return AdminClient({"bootstrap.servers": kafka})


def set_config(admin: AdminClient, topic: str, name: str, value: str) -> None:
    """Change a topic as an operator would."""
    change = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)
    give_up_at = time.monotonic() + 10
    while config(admin, topic, name) != value:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def config(admin: AdminClient, topic: str, name: str) -> str:
    """What a broker says of a topic."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    [future] = admin.describe_configs([resource]).values()
    return str(future.result(10)[name].value)


def test_missing_topics_are_created_once(kafka: str, namespace: str) -> None:
    """The first call creates all topics, the second finds nothing to do, and so does check."""
    missing = provision.check(kafka, namespace=namespace, partitions=3, replication=1)
    assert [(d.topic, d.kind) for d in missing] == [
        (spec.in_namespace(namespace), DifferenceKind.MISSING) for spec in TOPICS
    ]
    assert provision.apply(kafka, namespace=namespace, partitions=3, replication=1) == missing
    assert provision.apply(kafka, namespace=namespace, partitions=3, replication=1) == []
    assert provision.check(kafka, namespace=namespace, partitions=3, replication=1) == []


def test_created_topics_can_be_used_at_once(kafka: str, namespace: str) -> None:
    """When apply returns, a record can be written to every partition and read from it."""
    provision.apply(kafka, namespace=namespace, partitions=3, replication=1)
    topic = CHANGES.in_namespace(namespace)
    producer = Producer({"bootstrap.servers": kafka})
    for partition in range(3):
        producer.produce(topic, value=str(partition).encode(), partition=partition)
    assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": f"{namespace}test", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
        records = [record for record in (consumer.poll(10) for _ in range(3)) if record is not None]
        assert sorted((record.partition(), record.value()) for record in records) == [(0, b"0"), (1, b"1"), (2, b"2")]
    finally:
        consumer.close()


def test_several_processes_may_start_at_once(kafka: str, namespace: str) -> None:
    """Workers that all create the topics agree in the end, and none of them fails."""

    def start(_: int) -> None:
        provision.apply(kafka, namespace=namespace, partitions=2, replication=1)
        assert provision.check(kafka, namespace=namespace, partitions=2, replication=1) == []

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))


def test_differing_configs_are_set_and_others_left_alone(kafka: str, admin: AdminClient, namespace: str) -> None:
    """What the table says is restored; what it does not speak of is the operator's."""
    provision.apply(kafka, namespace=namespace, partitions=1, replication=1)
    topic = CONVERSATION_EVENTS.in_namespace(namespace)
    set_config(admin, topic, "retention.ms", "3600000")
    set_config(admin, topic, "segment.ms", "7200000")

    [found] = provision.check(kafka, namespace=namespace, partitions=1, replication=1)
    assert (found.topic, found.setting, found.actual, found.wanted) == (topic, "retention.ms", "3600000", "-1")
    assert provision.apply(kafka, namespace=namespace, partitions=1, replication=1) == [found]

    assert config(admin, topic, "retention.ms") == "-1"
    assert config(admin, topic, "segment.ms") == "7200000"
    assert provision.check(kafka, namespace=namespace, partitions=1, replication=1) == []


def test_configs_are_left_alone_when_asked_to(kafka: str, admin: AdminClient, namespace: str) -> None:
    """An operator's choice can be kept: it is reported and not touched."""
    provision.apply(kafka, namespace=namespace, partitions=1, replication=1)
    topic = CHANGES.in_namespace(namespace)
    set_config(admin, topic, "retention.ms", "3600000")
    [found] = provision.apply(kafka, namespace=namespace, partitions=1, replication=1, alter_configs=False)
    assert found.remedy is Remedy.ALTER
    assert config(admin, topic, "retention.ms") == "3600000"


def test_another_partition_count_is_refused_before_anything_is_changed(
    kafka: str, admin: AdminClient, namespace: str
) -> None:
    """With one topic of another count nothing is created and nothing is altered; the message says what to do."""
    topic = CHANGES.in_namespace(namespace)
    [created] = admin.create_topics([NewTopic(topic, 5, 1)]).values()
    created.result(10)
    before = provision.check(kafka, namespace=namespace, partitions=4, replication=1)
    assert {d.kind for d in before} >= {DifferenceKind.MISSING, DifferenceKind.PARTITIONS}

    with pytest.raises(ProvisionError, match=r"has 5 partitions, not 4; .*order of a user's events") as caught:
        provision.apply(kafka, namespace=namespace, partitions=4, replication=1)

    assert "kafka.partitions=5" in caught.value.next_step
    assert provision.check(kafka, namespace=namespace, partitions=4, replication=1) == before


def test_copies_that_the_cluster_cannot_hold_are_explained(kafka: str, namespace: str) -> None:
    """Kafka's own complaint reaches the caller with a next step."""
    with pytest.raises(ProvisionError, match="cannot create") as caught:
        provision.apply(kafka, namespace=namespace, partitions=1, replication=9)
    assert caught.value.next_step


def test_fewer_copies_than_wanted_are_reported_and_left_alone(kafka: str, namespace: str) -> None:
    """Everything works with them, so that a worker starts; check still tells."""
    provision.apply(kafka, namespace=namespace, partitions=1, replication=1)
    found = provision.apply(kafka, namespace=namespace, partitions=1, replication=2)
    assert {(d.kind, d.remedy) for d in found} == {(DifferenceKind.REPLICATION, Remedy.WARN)}
    assert provision.check(kafka, namespace=namespace, partitions=1, replication=2) == found


def test_a_start_with_all_in_place_is_quick(kafka: str, namespace: str) -> None:
    """Workers call this at every start: with nothing to do it takes a fraction of a second, 2 s at worst here."""
    provision.apply(kafka, namespace=namespace, partitions=4, replication=1)
    started = time.monotonic()
    provision.apply(kafka, namespace=namespace, partitions=4, replication=1)
    assert time.monotonic() - started < 2
