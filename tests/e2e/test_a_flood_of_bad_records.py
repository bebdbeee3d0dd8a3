"""So many bad records that they are hardly to blame: the worker stops, and keeps them where they are."""

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from e2e.log_audit import assert_sound, check_dead_letters, check_ledger
from e2e.log_history import LogFollower
from e2e.running_worker import RunningWorker

from schemas.ids import UserKey
from schemas.outcome import DeadLetter
from streams.settings import Settings
from topology import keys, topics
from topology.graph import StageName, stage

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

_FLOOD = 400


async def test_a_flood_of_bad_records_stops_the_worker_until_somebody_wants_them_out_of_the_way(
    settings: Settings, new_worker: Callable[..., RunningWorker], follow: Callable[[Settings], LogFollower]
) -> None:
    """Exit code 1, the reason and the way out; fewer than a hundred letters; with the limit lifted, all of them."""
    await asyncio.to_thread(publish_nonsense, settings)
    worker = new_worker(settings, stages=[StageName.RECORD])
    worker.start()
    assert worker.wait_ended(60) == 1
    assert "record would give up" in worker.log()
    assert "MEMSTREAM_RETRY_MAX_DEAD_LETTER_RATIO=1" in worker.log()
    follower = follow(settings)
    follower.read_on()
    assert len(list(follower.history.events(topics.DLQ, DeadLetter))) < 100

    lifted = new_worker(settings.replace("retry", max_dead_letter_ratio=1.0), stages=[StageName.RECORD])
    lifted.start()
    record = stage(StageName.RECORD)
    history = follower.wait_until_drained(timeout_s=60, stages=[record], windows_closed=False)
    assert len(list(history.events(topics.DLQ, DeadLetter))) == _FLOOD
    assert_sound([*check_ledger(history, record), *check_dead_letters(history)])


def publish_nonsense(settings: Settings) -> None:
    """Records that are no events, in all partitions."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "partitioner": "murmur2"})
    for number in range(_FLOOD):
        key = keys.user_key_bytes(UserKey("acme", f"user-{number % 20}"))
        producer.produce(settings.kafka.namespace + topics.CONVERSATION_EVENTS.name, b"nonsense %d" % number, key)
    assert producer.flush(20) == 0
