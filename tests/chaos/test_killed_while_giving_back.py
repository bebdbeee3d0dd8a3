"""SIGKILL during revoke, in every stage in turn: with a batch about to commit, and with everything ended."""

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest
from chaos.fate import REVOKED, REVOKING, Fate
from chaos.journal import Deed, hold_file
from chaos.journal_checks import check_effects, open_parts
from chaos.steady_load import SteadyLoad
from chaos.verdict import assert_nothing_lost_or_doubled
from chaos.watched import WatchedWorker
from e2e.conversations import generate
from e2e.log_audit import assert_sound
from e2e.log_history import LogFollower

from streams.settings import Settings
from topology.graph import StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


_FIRST = (StageName.EXTRACT, StageName.RECORD)


@pytest.mark.parametrize(
    ("place", "at_once"),
    [(REVOKING, False), (REVOKED, False), (REVOKED, True)],
    ids=["a batch about to commit", "all ended", "all ended, back at once"],
)
async def test_every_stage_dies_while_it_gives_partitions_back(
    place: str,
    at_once: bool,
    settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """A worker of each stage is killed while one of all stages takes partitions from it; all is as after a calm run."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2))
    settings = settings.replace("kafka", session_timeout=timedelta(seconds=6))
    settings = settings.replace("batch", max_events=8, max_open_batches=32)
    conversations = generate(seed, users=40, turns=6000)
    giving = {stage: new_worker(settings, stages=[stage]) for stage in StageName}
    taking = new_worker(settings)
    async with SteadyLoad(settings, conversations) as load:
        for stage, worker in giving.items():
            worker.start(Fate(stage=stage, place=place))
        for worker in giving.values():
            await asyncio.to_thread(worker.wait_for_partitions)
        await load.wait_for_more(100)
        if place == REVOKING:
            # From the end of the stream to its beginning: a stage that commits nothing feeds none behind it.
            for stage in (StageName.INVALIDATE, StageName.INDEX, StageName.CONSOLIDATE, StageName.EMBED, *_FIRST):
                await asyncio.to_thread(hold_batches_on_all_partitions, giving[stage], stage, settings.kafka.partitions)
        taking.start()
        for worker in giving.values():
            assert await asyncio.to_thread(worker.wait_ended, 60) == -signal.SIGKILL, worker.log_tail()
            if at_once:
                worker.start()
        await asyncio.to_thread(taking.wait_for_partitions, 15 if at_once else 30)
        if not at_once:
            for worker in giving.values():
                worker.start()
        for worker in giving.values():
            await asyncio.to_thread(worker.wait_for_partitions)
        await load.wait_for_more(100)
    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=90)
    for worker in (taking, *giving.values()):
        worker.assert_running()

    entries = taking.entries()
    assert {entry.stage for entry in entries if entry.deed is Deed.MET_FATE} == set(StageName)
    await assert_nothing_lost_or_doubled(history, settings, load.sent, entries)
    assert_sound(check_effects(entries, killed=[worker.pids[0] for worker in giving.values()]))


def hold_batches_on_all_partitions(worker: WatchedWorker, stage: StageName, partitions: int) -> None:
    """Return once the stage has open batches on every partition, none of which commits before partitions go."""
    hold_file(worker.journal, stage).touch()

    def open_partitions() -> set[int]:
        if not worker.own(Deed.HOLDING):
            return set()
        # A stage with as many open batches as it may have decides no more: what it had decided before counts as well.
        return {part.partition for part in open_parts(worker.entries(), pid=worker.pid, stage=stage)}

    worker.wait_for(lambda: len(open_partitions()) == partitions, "open batches on all partitions", timeout_s=30)
