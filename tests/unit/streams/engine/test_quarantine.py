"""Laws of the quarantine: events that kill the process, and processes that follow each other."""

import asyncio
import random

from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from raw_records import raw_record
from unit.streams.engine.simulation import PARTITIONS, DiedError, Faults, Log, World


@example_settings(deadline=None, max_examples=300)
@given(
    counts=st.lists(st.integers(0, 40), min_size=PARTITIONS, max_size=PARTITIONS),
    killers=st.dictionaries(st.integers(0, 120), st.sampled_from(["decide", "ask", "perform"]), min_size=1, max_size=3),
    poisoned=st.dictionaries(st.integers(0, 120), st.sampled_from(["decide", "ask", "perform"]), max_size=3),
    changes=st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.booleans()), max_size=2),
    passing_ratio=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 2**32),
)
def test_exactly_the_events_that_kill_the_process_are_quarantined(
    counts: list[int],
    killers: dict[int, str],
    poisoned: dict[int, str],
    changes: list[tuple[int, bool]],
    passing_ratio: float,
    seed: int,
) -> None:
    """A process that is started again after each death settles everything, and gives up nothing but killers and poison.

    The deaths are bounded: without passing errors, which hide some, by those of each killer at each open batch.
    """
    first = [sum(counts[:p]) for p in range(PARTITIONS)]
    inputs = [[raw_record(p, i, b"%d" % (first[p] + i)) for i in range(counts[p])] for p in range(PARTITIONS)]
    poisoned = {number: step for number, step in poisoned.items() if number not in killers}
    log, randomness = Log(), random.Random(seed)
    deaths = 0
    while True:
        try:
            asyncio.run(World(inputs, Faults(poisoned, passing_ratio, randomness, killers), log).run(changes))
            break
        except DiedError:
            deaths += 1
            log.generation += 1
            assert deaths <= (100 if passing_ratio else 12) * len(killers)

    assert log.positions == dict(enumerate(counts))
    given_up = {number for number in killers | poisoned if number < sum(counts)}
    assert sorted(log.letters) == sorted(given_up)
    for partition, count in enumerate(counts):
        numbers = range(first[partition], first[partition] + count)
        healthy = [number for number in numbers if number not in given_up]
        assert log.outputs[partition] == [b"%d:%d" % (number, i + 1) for i, number in enumerate(healthy)]
    assert not any(log.marks.values())
