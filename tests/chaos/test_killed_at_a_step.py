"""SIGKILL at the named steps of a batch, in every stage in turn: before and after the effect, the outputs, the commit.

Not at the steps before `asked`: until then as little has left the process as there.
"""

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest
from chaos.fate import Fate
from chaos.journal import Deed
from chaos.journal_checks import check_effects, repeated_effects
from chaos.steady_load import SteadyLoad
from chaos.verdict import assert_nothing_lost_or_doubled
from chaos.watched import WatchedWorker
from e2e.conversations import generate
from e2e.log_audit import assert_sound
from e2e.log_history import LogFollower, LogHistory

from streams.engine.steps import Step
from streams.settings import Settings
from topology.graph import GRAPH, StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

_BATCHES_BEFORE = 8
"""The stage has settled some batches when it dies, so that a successor has something to keep apart."""
_STEPS = (Step.ASKED, Step.PERFORMED, Step.PRODUCED, Step.COMMITTING, Step.COMMITTED)
_INSIDE_A_TRANSACTION = {Step.PRODUCED, Step.COMMITTING}
_BEHIND_THE_EFFECT = {Step.PERFORMED, *_INSIDE_A_TRANSACTION}
_WITH_EFFECTS = (StageName.INDEX, StageName.INVALIDATE)


@pytest.mark.parametrize("step", _STEPS)
async def test_every_stage_dies_once_at_the_step(
    step: Step,
    settings: Settings,
    seed: int,
    new_worker: Callable[[Settings], WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """A worker is killed where one stage stands at the step, six times over; everything is as after a calm run."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2)).replace("batch", max_events=8)
    conversations = generate(seed, users=40, turns=6000)
    worker = new_worker(settings)
    async with SteadyLoad(settings, conversations) as load:
        for stage in StageName:
            worker.start(Fate(stage=stage, place=step, count=_BATCHES_BEFORE))
            assert await asyncio.to_thread(worker.wait_ended, 60) == -signal.SIGKILL, worker.log_tail()
        worker.start()
        await asyncio.to_thread(worker.wait_for_partitions)
        await load.wait_for_more(50)
    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=90)
    worker.assert_running()

    entries = worker.entries()
    assert [entry.stage for entry in entries if entry.deed is Deed.MET_FATE] == list(StageName)
    await assert_nothing_lost_or_doubled(history, settings, load.sent, entries)
    assert_sound(check_effects(entries, killed=worker.pids[:-1]))
    if step in _BEHIND_THE_EFFECT:
        idle = [stage for stage in _WITH_EFFECTS if not repeated_effects(entries, stage)]
        assert not idle, f"no effect of {idle} was done again, although a worker died behind one"
    if step in _INSIDE_A_TRANSACTION:
        aborted = aborted_entries(follow(settings, isolation="read_uncommitted"), history)
        assert all(aborted.values()), f"a worker died inside a transaction of each stage, but aborted are {aborted}"


def aborted_entries(everything: LogFollower, history: LogHistory) -> dict[str, int]:
    """Stage to how many of its ledger entries the broker has, but hides from committed readers."""
    everything.read_on()
    return {
        str(spec.name): sum(
            len(everything.history.ledger(spec, partition)) - len(history.ledger(spec, partition))
            for partition in range(history.partitions)
        )
        for spec in GRAPH
    }
