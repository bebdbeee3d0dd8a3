"""What stands beside a committed position."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.marks import NOTHING, Mark, from_text

COUNTS = st.integers(0, 2**40)


@given(st.builds(Mark, crashes=COUNTS, alone=COUNTS, until=COUNTS))
def test_a_mark_comes_back_from_its_text(mark: Mark) -> None:
    """What one process writes, the next one reads."""
    assert from_text(mark.to_text()) == mark


@pytest.mark.parametrize("text", [None, "", "consumer-1", "7", "[]", '{"crashes": "many"}', '{"crashes"'])
def test_metadata_of_somebody_else_says_nothing(text: str | None) -> None:
    """Tools that set positions may leave metadata of their own; a worker starts all the same."""
    assert from_text(text) == NOTHING


def test_nothing_leaves_the_metadata_empty() -> None:
    """A position that is as good as any other looks like any other."""
    assert NOTHING.to_text() == ""


def test_a_process_that_begins_counts_as_dead_until_it_says_otherwise() -> None:
    """With one record alone it counts against that one, else against the place; only one of the two is kept."""
    assert Mark(crashes=1).begun(10) == Mark(crashes=2)
    assert Mark(alone=1, until=11).begun(10) == Mark(alone=2, until=11)
    assert Mark(alone=1, until=10).begun(10) == Mark(crashes=1)
