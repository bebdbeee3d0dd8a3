"""A second worker comes and goes in order while the first one works."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from e2e.conversations import Conversations, generate
from e2e.log_audit import assert_sound, audit, fold_of
from e2e.log_history import LogFollower
from e2e.running_worker import RunningWorker

from streams.clients.publisher import ConversationPublisher
from streams.settings import Settings
from topology.graph import StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

_LEFT_WITHIN_S = 12.0
"""Revoke deadline (8 s) and something for the rest."""


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_worker_joins_and_leaves_under_load_and_nothing_is_settled_twice(
    protocol: str,
    settings: Settings,
    seed: int,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
) -> None:
    """Both get partitions, the second leaves within its deadline and with exit code 0, the audit finds nothing."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2)).replace("kafka", group_protocol=protocol)
    conversations = generate(seed, users=60, turns=1500)
    first, second = new_worker(settings), new_worker(settings)
    first.start()
    await asyncio.to_thread(first.wait_ready)
    moved = asyncio.Event()
    publishing = asyncio.create_task(publish_steadily(settings, conversations, until=moved))
    try:
        await asyncio.sleep(1)
        second.start()
        await asyncio.to_thread(second.wait_ready)
        await asyncio.to_thread(wait_for_partitions, second)
        await asyncio.sleep(2)
        begun_s = time.monotonic()
        assert await asyncio.to_thread(second.stop) == 0, second.log_tail()
        left_s = time.monotonic() - begun_s
    finally:
        moved.set()
    await publishing
    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=60)

    assert left_s < _LEFT_WITHIN_S
    assert_sound(await audit(history, settings))
    folded = fold_of(history)
    turns = {user: {m.memory_id for m in memories.values() if m.kind == "turn"} for user, memories in folded.items()}
    assert turns == conversations.memory_ids()
    assert first.stop() == 0, first.log_tail()


async def publish_steadily(settings: Settings, conversations: Conversations, *, until: asyncio.Event) -> None:
    """Publish everything, at about 100 events a second until the event is set and at once then."""
    async with ConversationPublisher(settings) as publisher:
        for start in range(0, len(conversations.events), 10):
            await publisher.publish_many(conversations.events[start : start + 10])
            if not until.is_set():
                await asyncio.sleep(0.1)


def wait_for_partitions(worker: RunningWorker, timeout_s: float = 30.0) -> None:
    """Return once every stage of the worker has partitions: a worker that only joined proves nothing."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        lines = [json.loads(line) for line in worker.log().splitlines() if "partitions_assigned" in line]
        if {line["stage"] for line in lines if line["partitions"]} == set(StageName):
            return
        assert time.monotonic() < deadline_s, f"{worker.name} got no partitions:\n{worker.log_tail()}"
        time.sleep(0.1)


def test_of_two_workers_with_one_name_on_two_hosts_the_older_one_ends_and_says_why(
    settings: Settings, new_worker: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    """No lock file tells them of each other, so the broker does: the last words name the cause and the way out."""
    named = settings.replace("worker", instance="one-name")
    older, newer = (new_worker(named, environment={"XDG_RUNTIME_DIR": str(tmp_path / host)}) for host in ("a", "b"))
    older.start()
    older.wait_ready()
    wait_for_partitions(older)
    newer.start()
    newer.wait_ready()

    assert older.wait_ended(40) == 1
    assert newer.stop() == 0, newer.log_tail()
    error = next(line for line in reversed(older.log().splitlines()) if line.startswith("error: "))
    assert "another process has this worker's instance name" in error
    assert "MEMSTREAM_WORKER_INSTANCE" in error
