"""Our partitioner is librdkafka's murmur2, on a real Kafka: whoever publishes, a user has one partition."""

import random
import string
from collections.abc import Callable

import pytest
from confluent_kafka import Message, Producer

from schemas.ids import UserKey
from topology import keys, provision
from topology.topics import CONVERSATION_EVENTS

PARTITIONS = 7
"""Prime, so that no factor of the hash can hide a difference."""
ALPHABET = string.ascii_letters + string.digits + "/-_. äßéñ東京大阪한국🏡👩‍🚀\u0000"


def random_keys(seed: int) -> list[bytes]:
    """Keys of every length from 0 to 100 bytes, and texts of several scripts."""
    source = random.Random(seed)
    lengths = [source.randbytes(length) for length in range(101)]
    texts = ["".join(source.choices(ALPHABET, k=source.randrange(1, 60))).encode() for _ in range(400)]
    return [*lengths, *texts]


def published_to(bootstrap_servers: str, topic: str, keyed: list[bytes]) -> list[int]:
    """The partitions into which librdkafka puts records with these keys, in their order."""
    partitions: dict[int, int] = {}
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": "murmur2"})

    def noted(index: int) -> Callable[[object, Message], None]:
        def on_delivery(error: object, message: Message) -> None:
            if error is not None:
                failures.append(error)
            partitions[index] = message.partition() or 0

        return on_delivery

    for index, key in enumerate(keyed):
        producer.produce(topic, key=key, value=b"", on_delivery=noted(index))
    assert producer.flush(30) == 0
    assert failures == []
    return [partitions[index] for index in range(len(keyed))]


@pytest.fixture
def topic(kafka: str, namespace: str) -> str:
    """A topic of the test's own."""
    provision.apply(kafka, namespace=namespace, partitions=PARTITIONS, replication=1)
    return CONVERSATION_EVENTS.in_namespace(namespace)


def test_our_hash_finds_the_partition_that_librdkafka_takes(kafka: str, topic: str, seed: int) -> None:
    """For hundreds of keys of all lengths and scripts, our arithmetic and librdkafka's agree."""
    keyed = random_keys(seed)
    ours = [keys.murmur2(key) % PARTITIONS for key in keyed]
    assert published_to(kafka, topic, keyed) == ours
    assert set(ours) == set(range(PARTITIONS))


def test_a_users_partition_is_where_any_client_publishes(kafka: str, topic: str, seed: int) -> None:
    """A user's key leads librdkafka to `partition_of`, which record compares with to find misplaced events."""
    source = random.Random(seed)
    users = [
        UserKey("acme", "".join(source.choices(ALPHABET.replace("\0", ""), k=source.randrange(1, 30))))
        for _ in range(300)
    ]
    found = published_to(kafka, topic, [keys.user_key_bytes(user) for user in users])
    assert found == [keys.partition_of(user, PARTITIONS) for user in users]
