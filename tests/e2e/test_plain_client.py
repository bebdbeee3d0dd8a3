"""Anyone may publish with any Kafka client: no headers, no ids, no times, the wrong partitioner, no key at all."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer
from e2e.log_audit import assert_sound, audit, fold_of
from e2e.log_history import LogFollower, LogHistory
from e2e.running_worker import RunningWorker

from schemas.ids import UserKey, origin_event_id, turn_memory_id
from schemas.memory import MemoryChange
from schemas.outcome import Outcome, Reason, Verdict
from streams.settings import Settings
from topology.graph import StageName, stage
from topology.keys import partition_of
from topology.topics import CHANGES, CONVERSATION_EVENTS

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

_USERS = 12
_ROUNDS = 15


@dataclass
class Published:
    """One record as the broker placed it."""

    body: dict[str, Any]
    key: bytes | None
    partition: int = -1
    offset: int = -1

    @property
    def user(self) -> UserKey:
        """Whose turn it is."""
        return UserKey("default", self.body["user_id"])

    @property
    def event_id(self) -> str:
        """Its own, or its place."""
        return self.body.get("event_id") or origin_event_id(self.partition, self.offset)


async def test_turns_of_a_plain_client_are_remembered_once_and_in_order(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
) -> None:
    """Whatever a client leaves out, each turn is one memory; misplaced ones are rerouted, others keep their order."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2))
    worker = new_worker(settings)
    worker.start()
    worker.wait_ready()
    published = publish_plainly(settings, random.Random(seed))
    partitions = settings.kafka.partitions
    misplaced = [p for p in published if p.key is None or p.partition != partition_of(p.user, partitions)]
    placed = [p for p in published if p not in misplaced]
    assert misplaced, "the default partitioner placed every turn right: nothing is tested"
    assert any(p.key is not None for p in misplaced), "only turns without a key are misplaced"
    assert placed

    history = follow(settings).wait_until_drained(timeout_s=60)
    assert_sound(await audit(history, settings))
    assert_remembered_once(history, published)
    assert_order_kept(history, placed)
    assert_rerouted(history, misplaced)
    assert worker.stop() == 0, worker.log_tail()


def publish_plainly(settings: Settings, chance: random.Random) -> list[Published]:
    """Turns in all combinations: with and without key, id and time; through librdkafka as it comes."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "linger.ms": 5})
    topic = settings.kafka.namespace + CONVERSATION_EVENTS.name
    published = []

    def delivered(one: Published, error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        one.partition, one.offset = message.partition(), message.offset()

    for number in range(_USERS * _ROUNDS):
        user_id = f"plain-{number % _USERS}"
        body: dict[str, Any] = {
            "type": "turn",
            "user_id": user_id,
            "conversation_id": f"c{number % _USERS}",
            "role": "user",
            "content": f"I wrote page {number} of my travel diary.",
            "mood": "a field that nobody knows",
        }
        if chance.random() < 0.5:
            body["event_id"] = f"e{number}"
        if chance.random() < 0.5:
            body["occurred_at"] = datetime(2025, 5, 1, 8, 0, tzinfo=UTC).isoformat()
        # Every third user never sends a key; the others always do.
        one = Published(body, None if number % 3 == 0 else f"default/{user_id}".encode())
        published.append(one)
        producer.produce(
            topic,
            value=json.dumps(body, ensure_ascii=False).encode(),
            key=one.key,
            on_delivery=lambda error, message, one=one: delivered(one, error, message),
        )
        if number % 50 == 49:
            producer.flush(10)  # several batches: without a key, librdkafka keeps to one partition within each
    assert producer.flush(10) == 0
    return published


def assert_remembered_once(history: LogHistory, published: list[Published]) -> None:
    """One turn memory each, under the id that its event or its place gives it, with nothing lost of what was said."""
    turns = {m.memory_id: m for memories in fold_of(history).values() for m in memories.values() if m.kind == "turn"}
    timestamps = {
        (record.partition, record.offset): datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        for partition in range(history.partitions)
        for record in history.of(CONVERSATION_EVENTS, partition)
    }
    assert len(turns) == len(published)
    for one in published:
        memory = turns[turn_memory_id(one.user, one.event_id)]
        assert memory.user == one.user
        assert memory.text == one.body["content"]
        assert memory.source_event_ids == [one.event_id]
        said = one.body.get("occurred_at")
        assert memory.occurred_at == (datetime.fromisoformat(said) if said else timestamps[one.partition, one.offset])
        assert memory.recorded_at == timestamps[one.partition, one.offset]


def assert_order_kept(history: LogHistory, placed: list[Published]) -> None:
    """The turns of a user that stood right from the start become memories in the order they were published."""
    wanted: dict[UserKey, list[str]] = {}
    for one in placed:
        wanted.setdefault(one.user, []).append(turn_memory_id(one.user, one.event_id))
    for user, memory_ids in wanted.items():
        changed = [c.memory_id for _, c in history.events(CHANGES, MemoryChange) if c.user == user]
        assert [memory_id for memory_id in changed if memory_id in set(memory_ids)] == memory_ids


def assert_rerouted(history: LogHistory, misplaced: list[Published]) -> None:
    """Record and extract both filter exactly the misplaced records as rerouted."""
    expected = {(one.partition, one.offset) for one in misplaced}
    for name in (StageName.RECORD, StageName.EXTRACT):
        rerouted = {
            (partition, verdict.offset)
            for partition in range(history.partitions)
            for _, entry in history.ledger(stage(name), partition)
            for verdict in entry.verdicts
            if verdict == Verdict(verdict.offset, Outcome.FILTERED, Reason.REROUTED)
        }
        assert rerouted == expected, f"{name} rerouted other records than the misplaced ones"
