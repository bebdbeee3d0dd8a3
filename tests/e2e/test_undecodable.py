"""Bad records among good ones: set aside whole, with their story, and brought back after a fix."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import pytest
from confluent_kafka import Producer
from e2e.conversations import Conversations, generate
from e2e.log_audit import assert_sound, audit, fold_of
from e2e.log_history import LogFollower, LogHistory
from e2e.running_worker import RunningWorker, environment_of

from schemas.ids import UserKey, turn_memory_id
from schemas.outcome import DeadLetter, Reason
from streams.settings import Settings
from topology.graph import StageName
from topology.topics import CONVERSATION_EVENTS, DLQ

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

_SMALL_BYTES = 8 * 1024
_READERS = (StageName.RECORD, StageName.EXTRACT)


@dataclass(frozen=True)
class Bad:
    """A record that is no event for this worker.

    Attributes:
        value: as published.
        reason: what the ledger and the letter must call it.
        headers: what must come back with it.
    """

    value: bytes | None
    reason: Reason
    headers: tuple[tuple[str, bytes | None], ...] = (("traceparent", b"00-1-2-01"), ("empty", None))


def oversize_turn(user: UserKey, number: int) -> bytes:
    """A good turn that is larger than this worker takes and smaller than the topic does."""
    turn = {
        "type": "turn",
        "tenant": user.tenant,
        "user_id": user.user_id,
        "conversation_id": "long",
        "event_id": f"long-{number}",
        "role": "user",
        "content": f"Chapter {number}. " + "The river was wide and slow. " * 1000,
    }
    return json.dumps(turn).encode()


def bad_records(user: UserKey) -> list[Bad]:
    """One of each kind."""
    good = {"type": "turn", "tenant": user.tenant, "user_id": user.user_id, "conversation_id": "c", "role": "user"}

    def body(**fields: object) -> bytes:
        return json.dumps(good | {"content": "x"} | fields).encode()

    return [
        Bad(body()[:-5], Reason.UNDECODABLE),  # cut off
        Bad(body(content=["not", "a", "text"]), Reason.UNDECODABLE),
        Bad(body(occurred_at="yesterday"), Reason.UNDECODABLE),
        Bad(json.dumps(good).encode(), Reason.UNDECODABLE),  # no content
        Bad(b'{"type": "turn", "user_id": "\xff\xfe"}', Reason.UNDECODABLE),  # not UTF-8
        Bad(b"[1, 2, 3]", Reason.UNDECODABLE),
        Bad(b"[" * 4000, Reason.UNDECODABLE),  # nested too deep to read
        Bad(b"", Reason.UNDECODABLE),
        Bad(None, Reason.UNDECODABLE),
        Bad(body(v=99), Reason.UNSUPPORTED_VERSION),
        Bad(body(type="poem"), Reason.UNSUPPORTED_VERSION),
        Bad(oversize_turn(user, 1), Reason.OVERSIZE),
        Bad(oversize_turn(user, 2), Reason.OVERSIZE),
        Bad(oversize_turn(user, 3), Reason.OVERSIZE),
    ]


async def test_bad_records_are_set_aside_whole_and_come_back_after_a_fix(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
) -> None:
    """Good turns are remembered, each bad record is a dead letter with its bytes, a redrive mends what it can."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2))
    strict = settings.replace("worker", max_event_bytes=_SMALL_BYTES)
    conversations = generate(seed, users=40, turns=1400)
    bad = bad_records(UserKey("acme", "user-bad"))
    assert 0.008 < len(bad) / len(conversations.events) < 0.012
    worker = new_worker(strict)
    worker.start()
    worker.wait_ready()
    publish(strict, conversations, bad, random.Random(seed))
    follower = follow(strict)
    history = follower.wait_until_drained(timeout_s=60)

    assert_sound(await audit(history, strict))
    assert_all_remembered(history, conversations)
    assert_set_aside(history, bad)
    assert worker.stop() == 0, worker.log_tail()

    patient = new_worker(settings)
    patient.start()
    patient.wait_ready()
    said = redrive(settings)
    history = follower.wait_until_drained(timeout_s=60)
    assert_sound(await audit(history, settings))
    assert_all_remembered(history, conversations)
    long_turns = {turn_memory_id(UserKey("acme", "user-bad"), f"long-{number}") for number in (1, 2, 3)}
    remembered = fold_of(history)[UserKey("acme", "user-bad")]
    assert long_turns <= remembered.keys(), f"redrive said {said}"
    assert patient.stop() == 0, patient.log_tail()


def publish(settings: Settings, conversations: Conversations, bad: list[Bad], chance: random.Random) -> None:
    """Good events in their order, bad records scattered among them, by a plain client with the right partitioner."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "partitioner": "murmur2"})
    topic = settings.kafka.namespace + CONVERSATION_EVENTS.name
    places = Counter(chance.choices(range(len(conversations.events)), k=len(bad)))
    waiting = chance.sample(bad, len(bad))
    for index, event in enumerate(conversations.events):
        for _ in range(places[index]):
            one = waiting.pop()
            key = f"acme/user-{chance.randrange(40):03d}"
            producer.produce(topic, key=key, value=one.value, headers=[*one.headers])
        producer.produce(topic, key=str(event.user), value=msgspec.json.encode(event))
    assert producer.flush(20) == 0
    assert not waiting


def assert_all_remembered(history: LogHistory, conversations: Conversations) -> None:
    """Every good turn is a memory."""
    folded = fold_of(history)
    for user, memory_ids in conversations.memory_ids().items():
        assert memory_ids <= folded[user].keys()


def assert_set_aside(history: LogHistory, bad: list[Bad]) -> None:
    """Both readers wrote one letter for each bad record, with its bytes, its headers, its place and why."""
    letters = [letter for _, letter in history.events(DLQ, DeadLetter)]
    for stage in _READERS:
        mine = [letter for letter in letters if letter.stage == stage]
        found = Counter((letter.value, letter.reason, tuple(letter.headers)) for letter in mine)
        assert found == Counter((one.value, one.reason, one.headers) for one in bad)
    places = {(r.partition, r.offset): r for p in range(history.partitions) for r in history.of(CONVERSATION_EVENTS, p)}
    for letter in letters:
        original = places[letter.partition, letter.offset]
        assert (letter.topic, letter.key, letter.value) == (CONVERSATION_EVENTS.name, original.key, original.value)
        assert letter.recorded_at.timestamp() * 1000 == pytest.approx(original.timestamp_ms, abs=1)
        assert letter.error


def redrive(settings: Settings) -> str:
    """`memstream dlq redrive`, as an operator runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli.main", "dlq", "redrive", "--all", "--yes", "--json"],
        env=environment_of(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
