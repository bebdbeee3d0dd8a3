"""When so much fails that it is hardly the records' fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.dead_letter_limit import DeadLetterLimit
from streams.errors import RefusedError
from topology.graph import StageName


def limit(max_ratio: float = 0.5) -> DeadLetterLimit:
    """Of some stage."""
    return DeadLetterLimit(StageName.EMBED, max_ratio=max_ratio)


@given(st.lists(st.integers(1, 400), max_size=60), st.data())
def test_the_newest_records_decide(batches: list[int], data: st.DataObject) -> None:
    """A batch is refused exactly when a hundred letters, and more than half of the newest thousand records, would go.

    What counts as newest are whole batches: as few as reach a thousand records.
    """
    watched = limit()
    newest: list[tuple[int, int]] = []
    for records in batches:
        letters = data.draw(st.integers(0, records))
        all_records = sum(r for r, _ in newest) + records
        all_letters = sum(n for _, n in newest) + letters
        refuses = letters > 0 and all_letters >= 100 and all_letters * 2 > all_records
        if refuses:
            with pytest.raises(RefusedError):
                watched.check(records, letters)
            continue
        watched.check(records, letters)
        watched.settled(records, letters)
        newest.append((records, letters))
        while sum(r for r, _ in newest[1:]) >= 1000:
            newest.pop(0)


def test_a_few_bad_records_stop_nothing() -> None:
    """Ninety-nine bad records in a row are dead-lettered; the hundredth stops the stage and says why."""
    watched = limit()
    for _ in range(99):
        watched.check(1, 1)
        watched.settled(1, 1)
    with pytest.raises(RefusedError, match=r"embed would give up 100 of the newest 100 records.*50%.*RATIO=1"):
        watched.check(1, 1)


def test_a_ratio_of_one_lets_everything_through() -> None:
    """Who knows that the records are bad can have them dead-lettered."""
    watched = limit(1.0)
    watched.check(5000, 5000)


def test_what_was_long_ago_does_not_count() -> None:
    """A topic that was bad once and is good now has its letters forgotten, and the other way round."""
    watched = limit()
    watched.settled(199, 99)
    watched.settled(5000, 0)
    watched.check(1000, 400)
    watched.settled(1, 0)
    with pytest.raises(RefusedError):
        watched.check(9000, 8000)
