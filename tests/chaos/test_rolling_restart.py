"""Two workers are restarted in turn under load, in order: nothing is doubled, and nothing is delivered again."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from chaos.journal import Deed
from chaos.journal_checks import check_delivered_once, check_effects
from chaos.steady_load import SteadyLoad
from chaos.verdict import assert_nothing_lost_or_doubled
from chaos.watched import WatchedWorker
from e2e.conversations import generate
from e2e.log_audit import assert_sound
from e2e.log_history import LogFollower

from streams.settings import Settings
from topology.graph import StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

_SESSION = timedelta(seconds=6)


async def test_a_rolling_restart_delivers_nothing_again(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """Both leave and come back, at once and after the other one has taken over; every record is handed out once."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2)).replace("batch", max_events=32)
    settings = settings.replace("kafka", session_timeout=_SESSION)
    conversations = generate(seed, users=40, turns=6000)
    first, second = new_worker(settings), new_worker(settings)
    async with SteadyLoad(settings, conversations) as load:
        for worker in (first, second):
            worker.start()
            await asyncio.to_thread(worker.wait_for_partitions)
        for others_take_over in (False, True):
            for worker, other in ((first, second), (second, first)):
                taken_before = len(other.own(Deed.ASSIGNED))
                assert await asyncio.to_thread(worker.stop) == 0, worker.log_tail()
                if others_take_over:
                    await asyncio.to_thread(wait_until_taken_over, other, taken_before)
                worker.start()
                await asyncio.to_thread(worker.wait_for_partitions)
                await load.wait_for_more(100)
    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=90)
    for worker in (first, second):
        worker.assert_running()

    entries = first.entries()
    for pid in (*first.pids, *second.pids):
        settled = {entry.stage for entry in entries if entry.pid == pid and entry.deed is Deed.COMMITTED}
        assert settled == set(StageName), f"process {pid} settled something in {settled} only"
    await assert_nothing_lost_or_doubled(history, settings, load.sent, entries)
    assert_sound([*check_delivered_once(entries), *check_effects(entries, killed=())])


def wait_until_taken_over(worker: WatchedWorker, before: int) -> None:
    """Return once every stage of the worker has been given more partitions than it had been by then."""
    worker.wait_for(
        lambda: {entry.stage for entry in worker.own(Deed.ASSIGNED)[before:] if entry.parts} == set(StageName),
        "the partitions of the other one",
        timeout_s=60,
    )
