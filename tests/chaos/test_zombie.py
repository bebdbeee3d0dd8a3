"""A worker is frozen for longer than its session, in the middle of a batch; when it wakes others have its partitions.

Its commits are refused by the broker, its writes by SQLite and by Redis. Weaviate cannot refuse any: there
`memstream verify --repair` mends what it wrote.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from chaos.fate import CALLING, PERFORMING, Fate
from chaos.journal import Deed, Entry, Part
from chaos.journal_checks import afterlife, check_zombie, open_parts, stale_writes, unsettled
from chaos.moves import generate_moves
from chaos.steady_load import SteadyLoad
from chaos.verdict import assert_nothing_lost_or_doubled
from chaos.watched import WatchedWorker
from e2e.conversations import Conversations
from e2e.log_audit import assert_sound
from e2e.log_history import LogFollower, LogHistory
from e2e.running_worker import environment_of

from streams.engine.steps import Step
from streams.settings import Settings
from topology.graph import StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

_BATCHES_BEFORE = 10


@pytest.mark.parametrize(
    ("stage", "its_settings"),
    # Only a worker that freezes in index may share a SQLite file: one that freezes elsewhere may hold the file's lock.
    [(StageName.INDEX, "light_settings"), (StageName.INVALIDATE, "settings")],
    ids=["SQLite", "Redis"],
)
async def test_older_writes_of_a_zombie_are_refused(
    stage: StageName,
    its_settings: str,
    request: pytest.FixtureRequest,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """It wakes with a write on its way, older than what stands there by now; SQLite and Redis keep what is newer."""
    run = ZombieRun(frozen(stage, CALLING), request.getfixturevalue(its_settings), new_worker, follow)
    await run.thaw_when_all_is_settled(seed)

    assert run.stale(), "the zombie had nothing older to write: this test would prove nothing"
    await run.assert_sound()


async def test_offsets_of_a_zombie_are_refused(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """It wakes before its offsets are in its transaction, and the partitions are another one's by then."""
    run = ZombieRun(frozen(StageName.CONSOLIDATE, Step.PRODUCED), settings, new_worker, follow)
    await run.thaw_when_the_partitions_are_gone(seed)

    assert run.refused(), f"its commit was not refused:\n{run.zombie.log_tail()}"
    await run.assert_sound()


async def test_an_open_transaction_of_a_zombie_is_ended_by_the_broker(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """It wakes inside a transaction that has timed out meanwhile, and learns that its batch was settled by another."""
    run = ZombieRun(frozen(StageName.CONSOLIDATE, Step.COMMITTING), settings, new_worker, follow)
    await run.thaw_when_all_is_settled(seed)

    assert "producer_renewed" in run.zombie.log(), f"its commit was not refused:\n{run.zombie.log_tail()}"
    await run.assert_sound()


async def test_weaviate_is_mended_after_a_zombie_wrote_to_it(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """What was newer is gone from the store when it wakes; after `verify --repair` the store is the fold of the log."""
    run = ZombieRun(frozen(StageName.INDEX, CALLING), settings, new_worker, follow)
    await run.thaw_when_all_is_settled(seed)

    assert run.stale(), "the zombie had nothing older to write: this test would prove nothing"
    command = [sys.executable, "-m", "streams.cli.main", "verify", "--repair", "--json"]
    repair = await asyncio.to_thread(
        subprocess.run, command, env=environment_of(settings), capture_output=True, text=True, check=False
    )
    assert repair.returncode == 0, repair.stdout + repair.stderr
    report = json.loads(repair.stdout)
    assert report["sound"]
    # Index looks at the newest memories when it is given a partition, and so may have been quicker.
    assert report["findings"] or run.rebuilt(), "the store was as the log says: nothing had to be mended"
    await run.assert_sound()


def frozen(stage: StageName, place: str) -> Fate:
    """The fate of a zombie."""
    return Fate(stage=stage, place=place, count=_BATCHES_BEFORE, end="freeze")


async def test_no_effect_begins_after_the_lease(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """A zombie that wakes before it has begun to write to Weaviate, which refuses nothing, writes nothing."""
    run = ZombieRun(frozen(StageName.INDEX, PERFORMING), settings, new_worker, follow)
    await run.thaw_when_all_is_settled(seed)

    assert not run.late_calls()
    await run.assert_sound()


class ZombieRun:
    """One run with two workers, of which one freezes by fate and is thawed when the other has its partitions.

    Args:
        fate: of the one.
        settings: of both.
        new_worker: makes them.
        follow: reads their log.
    """

    def __init__(
        self,
        fate: Fate,
        settings: Settings,
        new_worker: Callable[..., WatchedWorker],
        follow: Callable[..., LogFollower],
    ) -> None:
        settings = settings.replace("extract", idle_after=timedelta(seconds=2)).replace("batch", max_events=16)
        self.settings = settings.replace("kafka", session_timeout=timedelta(seconds=6))
        self._fate = fate
        self._survivor, self.zombie = new_worker(self.settings), new_worker(self.settings)
        self._follower = follow(self.settings)
        self._sent: Conversations
        self._history: LogHistory

    async def thaw_when_all_is_settled(self, seed: int) -> None:
        """Let the other one take over and go on; thaw the zombie when there is nothing left to do."""
        async with SteadyLoad(self.settings, generate_moves(seed, users=12, moves=3000)) as load:
            left = await self._freeze()
            await self._wait_for_survivor(
                lambda: (
                    not unsettled(left, (e for e in self._survivor.own(Deed.COMMITTED) if e.stage is self._fate.stage))
                ),
                "what the zombie left",
            )
            await load.wait_for_more(300)
        await asyncio.to_thread(self._follower.wait_until_drained, timeout_s=90)
        await asyncio.to_thread(thaw_and_wait, self.zombie)
        await self._end(load)

    async def thaw_when_the_partitions_are_gone(self, seed: int) -> None:
        """Thaw the zombie as soon as the other one has the partitions of its batch, while load goes on."""
        async with SteadyLoad(self.settings, generate_moves(seed, users=12, moves=3000)) as load:
            left = {part.partition for part in await self._freeze()}
            frozen_ns = self.zombie.own(Deed.MET_FATE)[0].at_ns
            await self._wait_for_survivor(
                lambda: left <= assigned_since(self._survivor.own(Deed.ASSIGNED), self._fate.stage, frozen_ns),
                "partitions of the zombie",
            )
            await asyncio.to_thread(thaw_and_wait, self.zombie)
            await load.wait_for_more(100)
        await self._end(load)

    async def _freeze(self) -> list[Part]:
        self._survivor.start()
        await asyncio.to_thread(self._survivor.wait_for_partitions)
        self.zombie.start(self._fate)
        await asyncio.to_thread(
            self.zombie.wait_for, lambda: bool(self.zombie.own(Deed.MET_FATE)), "its fate", timeout_s=60
        )
        left = open_parts(self.zombie.entries(), pid=self.zombie.pid, stage=self._fate.stage)
        assert left, "nothing was open when the worker froze"
        return left

    async def _wait_for_survivor(self, reached: Callable[[], bool], what: str) -> None:
        await asyncio.to_thread(self._survivor.wait_for, reached, what, timeout_s=60)

    async def _end(self, load: SteadyLoad) -> None:
        self._sent = load.sent
        self._history = await asyncio.to_thread(self._follower.wait_until_drained, timeout_s=90)
        for worker in (self._survivor, self.zombie):
            worker.assert_running()

    def refused(self) -> list[Entry]:
        """Commits of the frozen stage that were refused after the thaw, by the broker and not by the worker itself."""
        return [
            entry
            for entry in self._afterlife()
            if (entry.stage, entry.deed) == (self._fate.stage, Deed.REFUSED) and "given back" not in entry.note
        ]

    def stale(self) -> dict[str, tuple[int, int]]:
        """What the zombie wrote although something newer had been written; heads do not count for themselves."""
        stale = stale_writes(self.zombie.entries(), pid=self.zombie.pid)
        return {name: revisions for name, revisions in stale.items() if not name.startswith("head of")}

    def late_calls(self) -> list[Entry]:
        """Effects of the frozen stage that began after the thaw, before it had partitions again."""
        return [e for e in self._afterlife() if (e.stage, e.deed) == (self._fate.stage, Deed.CALLING)]

    def rebuilt(self) -> bool:
        """Whether index itself has noticed that its store is not what it was, and mended it."""
        return any("store_rebuilt" in worker.log() for worker in (self._survivor, self.zombie))

    async def assert_sound(self) -> None:
        """Nothing lost or doubled, and nothing settled by the zombie."""
        entries, acts = self.zombie.entries(), self._afterlife()
        assert_sound(check_zombie(entries, pid=self.zombie.pid))
        living = [entry for entry in entries if entry not in acts]
        await assert_nothing_lost_or_doubled(self._history, self.settings, self._sent, living)

    def _afterlife(self) -> list[Entry]:
        return afterlife(self.zombie.entries(), pid=self.zombie.pid)


def thaw_and_wait(zombie: WatchedWorker) -> None:
    """Return once every stage has learned that it lost its partitions, and has been given new ones."""
    thawed_ns = time.monotonic_ns()
    zombie.thaw()
    zombie.wait_for(
        lambda: all(assigned_since(zombie.own(Deed.ASSIGNED), stage, thawed_ns) for stage in StageName),
        "partitions after the thaw",
        timeout_s=60,
    )


def assigned_since(assigned: list[Entry], stage: StageName, since_ns: int) -> set[int]:
    """Partitions that were assigned later than that."""
    return {part.partition for e in assigned if e.stage is stage and e.at_ns > since_ns for part in e.parts}
