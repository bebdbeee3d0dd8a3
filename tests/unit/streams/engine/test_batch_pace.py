"""Batches that keep a distance, and stages that follow."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.batch_pace import BatchPace

MAX_AGE = timedelta(milliseconds=20)
MIN_INTERVAL = timedelta(milliseconds=100)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 100)), max_size=50))
def test_batches_keep_their_distance(run: list[tuple[float, float]]) -> None:
    """From one batch to the next it is never less than the interval, and never waits for more than five."""
    pace = BatchPace(MAX_AGE, min_interval=MIN_INTERVAL)
    taken_at_s = None
    now_s = 0.0
    for idle_s, took_s in run:
        oldest_at_s = now_s + idle_s
        now_s = pace.due_at_s(oldest_at_s=oldest_at_s)
        assert now_s >= oldest_at_s + 0.02
        if taken_at_s is not None:
            assert now_s >= taken_at_s + 0.1
            assert now_s <= max(oldest_at_s + 0.02, taken_at_s + 0.5)
        pace.taken(now_s=now_s)
        pace.batch_over(took_s=took_s)
        taken_at_s = now_s


def test_an_event_that_comes_after_a_rest_waits_for_its_age_only() -> None:
    """The interval is counted from the batch before, so a quiet stage is a quick one."""
    pace = BatchPace(MAX_AGE, min_interval=MIN_INTERVAL)
    assert pace.due_at_s(oldest_at_s=5.0) == 5.02
    pace.taken(now_s=5.02)
    assert pace.due_at_s(oldest_at_s=5.03) == pytest.approx(5.12)
    assert pace.due_at_s(oldest_at_s=7.0) == 7.02


def test_slow_batches_are_farther_apart_and_a_quick_one_ends_that() -> None:
    """The interval is twice what the newest batch took, both ways."""
    pace = BatchPace(MAX_AGE, min_interval=MIN_INTERVAL)
    pace.taken(now_s=1.0)
    pace.batch_over(took_s=0.2)
    assert pace.due_at_s(oldest_at_s=1.0) == pytest.approx(1.4)
    pace.batch_over(took_s=0.01)
    assert pace.due_at_s(oldest_at_s=1.0) == pytest.approx(1.1)


def test_without_an_interval_only_the_age_counts() -> None:
    """A stage that follows others takes what comes, whatever its batches take."""
    pace = BatchPace(MAX_AGE)
    pace.taken(now_s=1.0)
    pace.batch_over(took_s=5)
    assert pace.due_at_s(oldest_at_s=1.0) == 1.02
