"""What contenders count, and the line they tell it in."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.engine.contender import Result, Tally, Task, number_of, place_of


def _task(**changed: Any) -> Task:
    values: dict[str, Any] = {
        "bootstrap_servers": "here:1",
        "topic": "t",
        "partitions": 2,
        "records": 4,
        "run": 1,
        "output": None,
        "ledger": "l",
        "batch": 10,
        "limit_s": 60.0,
    }
    return Task(**values | changed)


def _told(tally: Tally) -> Result:
    tally.begin()
    tally.end()
    return tally.result()


def test_a_task_survives_the_command_line() -> None:
    """A contender is told everything as one JSON argument."""
    assert Task(**json.loads(json.dumps(asdict(_task(output="out"))))) == _task(output="out")


def test_a_result_is_the_last_line_of_what_a_contender_prints() -> None:
    """Peers print what they like before it."""
    result = Result(records=4, seconds=2.0, cpu_s=1.0, in_order=True, transactions=2, options={"loop": "uvloop"})
    assert Result.parse("a banner\n" + json.dumps(asdict(result)) + "\n") == result
    assert result.rate_per_s == 2.0


def test_a_contender_that_printed_nothing_has_no_result() -> None:
    """Silence is an error, not a zero."""
    with pytest.raises(ValueError, match="nothing"):
        Result.parse(" \n")


def test_everything_seen_once_and_in_order_is_in_order() -> None:
    """One at a time and many at once count the same."""
    tally = Tally(_task())
    tally.add(0, 0)
    tally.add_all(1, [0, 1])
    assert not tally.is_over
    tally.add(0, 1)
    assert tally.is_over
    assert (_told(tally).records, _told(tally).in_order) == (4, True)


@given(st.permutations(range(5)), st.sampled_from(["lose", "double", "swap", "keep"]))
def test_no_loss_repetition_or_disorder_passes(places: list[int], fault: str) -> None:
    """Of each partition exactly the offsets from 0 on, ascending: whatever else was seen is not in order."""
    seen = list(range(5))
    if fault == "lose":
        del seen[places[0] % 4]  # one before the last: less at the end is a run that was stopped
    elif fault == "double":
        seen.insert(places[0], seen[places[0]])
    elif fault == "swap":
        seen[places[0]], seen[places[1]] = seen[places[1]], seen[places[0]]
    tally = Tally(_task())
    tally.add_all(1, seen)
    assert _told(tally).in_order == (fault == "keep")


def test_time_ends_a_contender_that_has_begun() -> None:
    """The limit counts from the first record: starting may take long."""
    tally = Tally(_task(limit_s=0.0))
    assert not tally.is_over
    tally.begin()
    assert tally.is_over


@given(st.integers(1, 12), st.integers(0, 10**6))
def test_numbers_and_places_are_one_to_one(partitions: int, number: int) -> None:
    """The place of an event can be told from its number alone, and the other way round."""
    partition, offset = place_of(number, partitions)
    assert 0 <= partition < partitions
    assert offset * partitions + partition == number


def test_an_event_tells_its_number() -> None:
    """Leading zeros are for equal length."""
    assert number_of(b'{"event_id":"0000000042"}') == 42
