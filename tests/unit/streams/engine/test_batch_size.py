"""Batches that shrink under a latency target."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.batch_size import BatchSize

TARGET = timedelta(seconds=1)


@given(
    st.integers(1, 5000),
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 10)), max_size=200),
)
def test_the_limit_stays_within_bounds(max_events: int, settled: list[tuple[int, float]]) -> None:
    """Whatever happens, at most the largest and never so small that a batch is all overhead."""
    size = BatchSize(max_events=max_events, latency_target=TARGET)
    for events, took_s in settled:
        size.batch_over(events=min(events, size.max_events), took_s=took_s)
        assert min(16, max_events) <= size.max_events <= max_events


@given(st.integers(17, 2000))
def test_full_batches_come_to_take_about_as_long_as_they_may(fits: int) -> None:
    """With a cost for each event the limit settles near what fits the target, from above and from below."""
    size = BatchSize(max_events=2000, latency_target=TARGET)
    seen = []
    for _ in range(400):
        seen.append(size.max_events)
        size.batch_over(events=size.max_events, took_s=size.max_events / fits * 0.999)
    settled = seen[200:]
    assert max(settled) <= fits + 2000 / 20 + 1
    assert min(settled) >= min(fits / 2, 16) - 1


def test_without_a_target_nothing_changes() -> None:
    """Off by default: slow batches stay as large as they come."""
    size = BatchSize(max_events=2000, latency_target=timedelta(0))
    size.batch_over(events=2000, took_s=60)
    assert (size.max_events, size.is_reduced) == (2000, False)


def test_a_small_batch_that_was_quick_does_not_raise_the_limit() -> None:
    """Only a full batch shows that more would fit."""
    size = BatchSize(max_events=2000, latency_target=TARGET)
    size.batch_over(events=2000, took_s=2)
    assert (size.max_events, size.is_reduced) == (1000, True)
    size.batch_over(events=10, took_s=0.001)
    assert size.max_events == 1000
    size.batch_over(events=1000, took_s=0.5)
    assert size.max_events == 1100
