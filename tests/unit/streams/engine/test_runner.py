"""Laws of the pipeline: whatever fails, whenever it fails, and whoever owns the partitions meanwhile."""

import asyncio
import random

from hypothesis import example, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from raw_records import raw_record
from unit.streams.engine.simulation import PARTITIONS, Faults, World

from schemas.outcome import LedgerEntry


def books(entries: list[LedgerEntry], partition: int) -> list[tuple[int, str]]:
    """Offset and outcome of every event of a partition, as the ledger has it."""
    found: list[tuple[int, str]] = []
    for entry in entries:
        if entry.partition == partition:
            judged = {verdict.offset: verdict.outcome.value for verdict in entry.verdicts}
            offsets = range(entry.first_offset, entry.last_offset + 1)
            assert entry.applied + entry.filtered + entry.dead_lettered == len(offsets)
            found += [(offset, judged.get(offset, "applied")) for offset in offsets]
    return found


@example_settings(deadline=None, max_examples=300)
@example(counts=[1, 17, 12], poisoned={}, changes=[(0, False), (1, False), (0, False)], passing_ratio=0.0, seed=25874)
@given(
    counts=st.lists(st.integers(0, 60), min_size=PARTITIONS, max_size=PARTITIONS),
    poisoned=st.dictionaries(
        st.integers(0, 180), st.sampled_from(["decide", "ask", "answer", "perform", "size"]), max_size=6
    ),
    changes=st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.booleans()), max_size=4),
    passing_ratio=st.sampled_from([0.0, 0.1, 0.4]),
    seed=st.integers(0, 2**32),
)
def test_every_event_has_one_outcome_and_outputs_keep_their_order(
    counts: list[int],
    poisoned: dict[int, str],
    changes: list[tuple[int, bool]],
    passing_ratio: float,
    seed: int,
) -> None:
    """Under any failures, delays and changes of ownership, the committed log is what one slow, lucky loop would write.

    No position is committed without its outcome; applied and dead-lettered are disjoint and together everything;
    exactly the poison events are dead letters; outputs stand in input order, and the state in them has no gap.
    """
    first = [sum(counts[:p]) for p in range(PARTITIONS)]
    inputs = [[raw_record(p, i, b"%d" % (first[p] + i)) for i in range(counts[p])] for p in range(PARTITIONS)]
    world = World(inputs, Faults(poisoned, passing_ratio, random.Random(seed)))

    asyncio.run(world.run(changes))

    log = world.log
    assert log.positions == dict(enumerate(counts))
    assert sorted(log.letters) == sorted(number for number in poisoned if number < sum(counts))
    for partition, count in enumerate(counts):
        numbers = range(first[partition], first[partition] + count)
        healthy = [number for number in numbers if number not in poisoned]
        assert log.outputs[partition] == [b"%d:%d" % (number, i + 1) for i, number in enumerate(healthy)]
        outcomes = ["dead_lettered" if number in poisoned else "applied" for number in numbers]
        assert books(log.entries, partition) == list(enumerate(outcomes))
    performed = set(log.effects)
    assert {n for n in range(sum(counts)) if n not in poisoned} <= performed
    assert not any(log.marks.values()), "nobody died, and yet a mark says so"
