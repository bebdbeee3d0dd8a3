"""Batches that wait as long as batches take."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.batch_age import BatchAge

MAX_AGE = timedelta(milliseconds=20)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_the_limit_stays_within_bounds(took_s: list[float]) -> None:
    """Never below the setting, and never above ten times it, however long a batch was held up."""
    age = BatchAge(MAX_AGE)
    for one in took_s:
        age.settled(took_s=one)
        assert 0.02 <= age.limit_s <= 0.2


def test_a_slow_batch_lets_the_next_one_wait_as_long_and_a_quick_one_ends_that() -> None:
    """The limit follows the newest batch, both ways."""
    age = BatchAge(MAX_AGE)
    age.settled(took_s=0.08)
    assert age.limit_s == 0.08
    age.settled(took_s=0.01)
    assert age.limit_s == 0.02


def test_without_an_age_nothing_waits() -> None:
    """Zero closes batches at once, whatever they take."""
    age = BatchAge(timedelta(0))
    age.settled(took_s=5)
    assert age.limit_s == 0
