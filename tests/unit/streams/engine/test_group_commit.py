"""Batches that are ready while one commits share the next transaction."""

import asyncio
import random
from collections.abc import Sequence

from raw_records import raw_record
from unit.streams.engine.simulation import PARTITIONS, SETTINGS, Faults, World

_RECORDS = 210
_BATCHES = _RECORDS // SETTINGS.batch.max_events


class SlowCommits(Faults):
    """Commits take much longer than everything else."""

    async def at(self, step: str, numbers: Sequence[int]) -> None:
        """Take a while."""
        if step == "commit":
            for _ in range(200):
                await asyncio.sleep(0)
        await super().at(step, numbers)


def settled(poison: dict[int, str]) -> World:
    """A world in which everything has been settled, one partition after the other's numbers."""
    share = _RECORDS // PARTITIONS
    inputs = [[raw_record(p, i, b"%d" % (p * share + i)) for i in range(share)] for p in range(PARTITIONS)]
    world = World(inputs, SlowCommits(poison, 0.0, random.Random(7)))
    asyncio.run(world.run([]))
    return world


def test_batches_that_wait_for_a_commit_go_together_into_the_next() -> None:
    """Of several open batches all but the first share a transaction, and the books have an entry for each."""
    progress = settled({}).progress
    assert progress.records == _RECORDS
    assert progress.batches >= _BATCHES
    assert progress.transactions <= progress.batches * 2 / 3


def test_a_batch_that_does_not_fit_keeps_no_other_from_committing() -> None:
    """The one whose output the broker refuses is found in a shared transaction, and loses that one event."""
    world = settled({100: "size"})
    assert world.log.letters == [100]
    assert sum(entry.applied for entry in world.log.entries) == _RECORDS - 1
    assert world.progress.collapses == 1
