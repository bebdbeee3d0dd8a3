"""Workers come and go faster than the group settles, some in order and some by SIGKILL."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest
from chaos.journal import Deed
from chaos.journal_checks import check_effects
from chaos.steady_load import SteadyLoad
from chaos.verdict import assert_nothing_lost_or_doubled
from chaos.watched import WatchedWorker
from e2e.conversations import generate
from e2e.log_audit import assert_sound
from e2e.log_history import LogFollower

from streams.settings import Settings
from topology.graph import StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

_TURNS = 10
_PAUSE_S = (0.5, 3.5)
"""Between two turns: a worker takes 2 s to join, a rebalance takes 1 to 2 s, a session 6 s; drawn from the seed."""


@dataclass
class Slot:
    """A place for one worker.

    Attributes:
        worker: it.
        runs: whether it is there now.
        killed: the processes that were ended by SIGKILL.
    """

    worker: WatchedWorker
    killed: list[int]
    runs: bool = False


async def test_a_storm_of_joins_and_leaves_loses_and_doubles_nothing(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """Three workers are started, stopped and killed in an order the seed gives; everything is as after a calm run."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2)).replace("batch", max_events=16)
    settings = settings.replace("kafka", session_timeout=timedelta(seconds=6))
    conversations = generate(seed, users=40, turns=6000)
    slots = [Slot(new_worker(settings), []) for _ in range(3)]
    async with SteadyLoad(settings, conversations) as load:
        slots[0].worker.start()
        slots[0].runs = True
        await asyncio.to_thread(slots[0].worker.wait_for_partitions)
        await storm(slots, random.Random(seed))
        workers = [slot.worker for slot in slots]
        for slot in slots:
            if not slot.runs:
                slot.worker.start()
        # The last one joins a group that has come to rest, and gets a partition of each: so everybody has one.
        for worker in workers:
            await asyncio.to_thread(worker.wait_for_partitions)
        workers.append(new_worker(settings))
        workers[-1].start()
        for worker in workers:
            await asyncio.to_thread(wait_until_it_settles, worker)
    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=90)
    for worker in workers:
        worker.assert_running()

    entries = workers[0].entries()
    killed = [pid for slot in slots for pid in slot.killed]
    assert killed, "nobody was killed"
    await assert_nothing_lost_or_doubled(history, settings, load.sent, entries)
    assert_sound(check_effects(entries, killed=killed))


async def storm(slots: Sequence[Slot], chance: random.Random) -> None:
    """Start whoever is away; stop or kill whoever is there, in turn."""
    endings = 0
    for _ in range(_TURNS):
        await asyncio.sleep(chance.uniform(*_PAUSE_S))
        slot = chance.choice(slots)
        if not slot.runs:
            slot.worker.start()
        elif (endings := endings + 1) % 2:
            slot.killed.append(slot.worker.pid)
            slot.worker.kill()
        else:
            # What it was asked while it still starts, it does once it has started.
            assert await asyncio.to_thread(slot.worker.stop) == 0, slot.worker.log_tail()
        slot.runs = not slot.runs


def wait_until_it_settles(worker: WatchedWorker) -> None:
    """Return once each stage of the worker has settled a batch from now on."""
    since = len(worker.own(Deed.COMMITTED))
    worker.wait_for(
        lambda: {entry.stage for entry in worker.own(Deed.COMMITTED)[since:]} == set(StageName),
        "commits of every stage after the storm",
        timeout_s=60,
    )
