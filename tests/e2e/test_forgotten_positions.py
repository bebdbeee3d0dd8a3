"""A broker forgets where groups stood that were away for long; the ledger does not."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from e2e.conversations import generate
from e2e.log_audit import assert_sound, audit
from e2e.log_history import LogFollower, LogHistory
from e2e.running_worker import RunningWorker

from streams.clients.publisher import ConversationPublisher
from streams.settings import Settings
from topology.graph import GRAPH, StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]


async def test_stages_whose_positions_are_gone_go_on_behind_their_ledger(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
) -> None:
    """Every record has one outcome, those from before the positions were deleted and those from after it."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2))
    settings = settings.replace("kafka", session_timeout=timedelta(seconds=6))
    events = generate(seed, users=20, turns=400).events
    worker = new_worker(settings)
    worker.start()
    await asyncio.to_thread(worker.wait_ready)
    async with ConversationPublisher(settings) as publisher:
        await publisher.publish_many(events[:200])
    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=60)
    settled = entries_of(history)
    assert worker.stop() == 0, worker.log_tail()

    await delete_groups(settings)
    async with ConversationPublisher(settings) as publisher:
        await publisher.publish_many(events[200:])
    worker.start()
    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=60)

    assert_sound(await audit(history, settings))
    assert all(count > settled[stage] for stage, count in entries_of(history).items())
    assert worker.log().count("positions_taken_from_ledger") == len(GRAPH)
    assert worker.stop() == 0, worker.log_tail()


def entries_of(history: LogHistory) -> dict[StageName, int]:
    """How many ledger entries each stage has written."""
    return {spec.name: sum(len(history.ledger(spec, p)) for p in range(history.partitions)) for spec in GRAPH}


async def delete_groups(settings: Settings, within_s: float = 20.0) -> None:
    """Delete the groups of all stages, as soon as the sessions of their static members are over."""
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    left = {spec.group_id(namespace=settings.kafka.namespace) for spec in GRAPH}
    async with asyncio.timeout(within_s):
        while left:
            for group, deleted in admin.delete_consumer_groups(sorted(left)).items():
                try:
                    deleted.result()
                    left.discard(group)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.NON_EMPTY_GROUP:
                        raise
            await asyncio.sleep(0.2)
