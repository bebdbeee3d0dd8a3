"""Workers under the new group protocol, where the session timeout is the group's and the worker has to set it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from e2e.conversations import generate
from e2e.log_audit import assert_sound, check_ledger
from e2e.log_history import LogFollower
from e2e.running_worker import RunningWorker

from streams.clients.publisher import ConversationPublisher
from streams.settings import Settings
from topology import graph
from topology.graph import StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

RECORD = graph.stage(StageName.RECORD)
BROKERS_DEFAULT_S = 45.0


async def test_what_a_killed_worker_had_is_done_by_its_successor_after_our_session_timeout(
    light_settings: Settings,
    seed: int,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
) -> None:
    """The killed one's successor starts without an error, and nobody waits for the timeout that brokers have."""
    settings = light_settings.replace("kafka", group_protocol="consumer", session_timeout=timedelta(seconds=6))
    worker = new_worker(settings, stages=[StageName.RECORD])
    worker.start()
    await asyncio.to_thread(worker.wait_ready)
    conversations = generate(seed, users=60, turns=600)
    half = len(conversations.events) // 2
    async with ConversationPublisher(settings) as publisher:
        await publisher.publish_many(conversations.events[:half])
        await asyncio.to_thread(
            follow(settings).wait_until_drained, timeout_s=60, stages=[RECORD], windows_closed=False
        )
        worker.kill()
        worker.start()
        await publisher.publish_many(conversations.events[half:])
    history = await asyncio.to_thread(
        follow(settings).wait_until_drained, timeout_s=BROKERS_DEFAULT_S - 10, stages=[RECORD], windows_closed=False
    )
    assert_sound(check_ledger(history, RECORD))
    assert worker.stop() == 0, worker.log_tail()
