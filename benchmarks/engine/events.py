"""The records that every contender reads: conversation events of about 220 bytes, dealt out to partitions in turns.

An event's number is its id, and says where it stands (`contender.place_of`), so that contenders which are not told
offsets can be checked as exactly as those that are. Keys lead to those partitions, as everywhere in the pipeline.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.engine.contender import place_of
from schemas.conversation import Turn
from schemas.ids import UserKey
from streams.engine import kafka
from streams.errors import MemstreamError
from streams.settings import KafkaSettings
from topology import keys

_TENANT = "bench"
_USERS = 1000
_START = datetime(2025, 3, 1, 8, 0, tzinfo=UTC)
_CONTENT = "The soup they had on {} was good."
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FLUSH_S = 60.0
_SAY_EVERY = 50_000


class FillError(MemstreamError):
    """The broker did not take all events."""


def numbered(records: int, partitions: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Partition, key and value of each event, in the order of their numbers."""
    users: list[list[str]] = [[] for _ in range(partitions)]
    for number in range(_USERS):
        user_id = f"user-{number:05d}"
        users[keys.partition_of(UserKey(_TENANT, user_id), partitions)].append(user_id)
    for number in range(records):
        partition, offset = place_of(number, partitions)
        turn = Turn(
            tenant=_TENANT,
            user_id=users[partition][offset % len(users[partition])],
            conversation_id=f"c-{number // 100_000}",
            event_id=f"{number:010d}",
            role="user",
            content=_CONTENT.format(_DAYS[number % len(_DAYS)]),
            occurred_at=_START + timedelta(seconds=number),
        )
        yield partition, keys.user_key_bytes(turn.user), msgspec.json.encode(turn)


def fill(settings: KafkaSettings, topic: str, records: int, say: Callable[[str], None]) -> None:
    """Write the events into an empty topic, uncompressed: not every contender's client brings a codec.

    Raises:
        FillError: the broker did not take all of them.
    """
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(
        kafka.producer(settings, client_id="bench")
        | {"compression.type": "none", "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}
        | {"delivery.report.only.error": True, "on_delivery": delivered}
    )
    for number, (partition, key, value) in enumerate(numbered(records, settings.partitions)):
        producer.produce(topic, key=key, value=value, partition=partition)
        if number % _SAY_EVERY == 0:
            producer.poll(0)
            say(f"{number} of {records} events")
    if (left := producer.flush(_FLUSH_S)) or failed:
        why = failed[0].str() if failed else "in time"
        raise FillError(f"the broker did not take {left or len(failed)} of {records} events: {why}; run it again")
