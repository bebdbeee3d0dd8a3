"""Six processes, one per stage, each killed in the middle of its work, again and again."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition
from e2e.conversations import Conversations, generate
from e2e.log_audit import assert_sound, audit, fold_of
from e2e.log_history import LogFollower
from e2e.running_worker import RunningWorker

from streams.clients.publisher import ConversationPublisher
from streams.settings import Settings
from topology.graph import StageName
from topology.topics import LEDGER

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

_PAUSE_S = (0.1, 0.8)
"""Between two kills; drawn from the seed."""
_TRIES = 60
"""How often a stage is frozen to look for an open transaction: about one moment in five has one."""


async def test_nothing_is_lost_or_doubled_when_every_stage_is_killed_in_the_middle(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
) -> None:
    """After SIGKILLs at every stage, inside and outside transactions, everything is as after a calm run."""
    # Small batches make many transactions, so that there is one to hit.
    settings = settings.replace("extract", idle_after=timedelta(seconds=2)).replace("batch", max_events=8)
    conversations = generate(seed, users=60, turns=1500)
    workers = {stage: new_worker(settings, stages=[stage]) for stage in StageName}
    for worker in workers.values():
        worker.start()
    for worker in workers.values():
        await asyncio.to_thread(worker.wait_ready)

    killed = asyncio.Event()
    publishing = asyncio.create_task(publish_steadily(settings, conversations, until=killed))
    try:
        await kill_each(workers, OpenTransactions(settings), random.Random(seed))
    finally:
        killed.set()
    published_meanwhile = await publishing
    # How many depends on how quick the machine is to restart workers; well into the hundreds is load enough.
    assert published_meanwhile >= 200, f"only {published_meanwhile} events were published while workers were killed"

    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=120)
    assert_sound(await audit(history, settings))
    folded = fold_of(history)
    turns = {user: {m.memory_id for m in memories.values() if m.kind == "turn"} for user, memories in folded.items()}
    assert turns == conversations.memory_ids()
    assert [worker.starts for worker in workers.values()] == [3] * len(StageName)
    for worker in workers.values():
        worker.assert_running()


async def publish_steadily(settings: Settings, conversations: Conversations, *, until: asyncio.Event) -> int:
    """Publish everything, then all of it again and again, at about 50 events a second, until the event is set.

    Returns:
        How many events had been published when the event was set; what is missing of the first time follows at once.
    """
    published = 0
    async with ConversationPublisher(settings) as publisher:
        for event in itertools.cycle(conversations.events):
            if until.is_set():
                break
            await publisher.publish(event)
            published += 1
            await asyncio.sleep(0.02)
        await publisher.publish_many(conversations.events[published:])
    return published


async def kill_each(
    workers: dict[StageName, RunningWorker], transactions: "OpenTransactions", chance: random.Random
) -> None:
    """Kill and restart every stage twice, once inside a transaction and once anywhere, in an order the seed gives."""
    order = [(stage, inside) for stage in StageName for inside in (True, False)]
    chance.shuffle(order)
    for stage, inside in order:
        await asyncio.sleep(chance.uniform(*_PAUSE_S))
        worker = workers[stage]
        await asyncio.to_thread(worker.wait_ready)
        if inside:
            await freeze_inside_a_transaction(worker, transactions, chance)
        worker.kill()
        worker.start()
    for worker in workers.values():
        await asyncio.to_thread(worker.wait_ready)


async def freeze_inside_a_transaction(
    worker: RunningWorker, transactions: "OpenTransactions", chance: random.Random
) -> None:
    """Freeze the worker at random moments until one of them lies between its first record and its commit."""
    for _ in range(_TRIES):
        await asyncio.sleep(chance.uniform(0.02, 0.1))
        worker.freeze()
        if await asyncio.to_thread(transactions.one_stays_open):
            return
        worker.thaw()
    raise AssertionError(f"{worker.name} had no open transaction at {_TRIES} moments: it does no work")


class OpenTransactions:
    """Sees whether a transaction is open on the ledger, where every batch of every stage writes, to one partition.

    Args:
        settings: where Kafka is.
    """

    def __init__(self, settings: Settings) -> None:
        self._places = [
            TopicPartition(settings.kafka.namespace + LEDGER.name, partition)
            for partition in range(settings.kafka.partitions)
        ]
        self._stable, self._all = (
            Consumer(
                {
                    "bootstrap.servers": settings.kafka.bootstrap_servers,
                    "group.id": f"{settings.kafka.namespace}open-transactions",
                    "isolation.level": isolation,
                }
            )
            for isolation in ("read_committed", "read_uncommitted")
        )

    def one_stays_open(self) -> bool:
        """Whether a partition's last stable offset stands still below its end over three looks."""
        stuck = self._unstable()
        for _ in range(2):
            if not stuck:
                return False
            time.sleep(0.03)  # a live stage's transaction is over by then
            stuck &= self._unstable()
        return bool(stuck)

    def _unstable(self) -> set[tuple[int, int]]:
        """Partitions with an open transaction, each with the offset where it begins."""
        found = set()
        for place in self._places:
            _, stable = self._stable.get_watermark_offsets(place, timeout=10, cached=False)
            _, end = self._all.get_watermark_offsets(place, timeout=10, cached=False)
            if stable < end:
                found.add((place.partition, stable))
        return found
