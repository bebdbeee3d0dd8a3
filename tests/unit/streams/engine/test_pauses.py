"""Pauses of the whole process."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.pauses import PauseWatch

SESSION = timedelta(seconds=10)

EXACT_GAPS_S = st.integers(0, 5 * 1024).map(lambda count: count / 1024)
"""Up to half a session, that included. Their sums are exact; of any floats, a gap of 5 s may come out as a bit more."""


@given(st.lists(EXACT_GAPS_S, max_size=50))
def test_without_a_gap_nothing_has_to_wait(gaps_s: list[float]) -> None:
    """A process that looks at the clock at least every half session timeout is what it believes to be."""
    now_s = 100.0
    watch = PauseWatch(SESSION, now_s=now_s)
    for gap_s in gaps_s:
        now_s += gap_s
        watch.tick(now_s=now_s)
        assert watch.doubt_s(now_s=now_s) == 0


@given(st.floats(5.1, 1e6), st.floats(0, 4))
def test_after_a_gap_effects_wait_for_two_heartbeats(gap_s: float, later_s: float) -> None:
    """From the first look after the gap, whoever takes it, until two heartbeats could be answered; then no longer."""
    watch = PauseWatch(SESSION, now_s=0.0)
    assert watch.doubt_s(now_s=gap_s) == pytest.approx(4.0)
    watch.tick(now_s=gap_s + later_s)
    assert watch.doubt_s(now_s=gap_s + later_s) == pytest.approx(4.0 - later_s, abs=1e-6)
    assert watch.doubt_s(now_s=gap_s + 4.0) == 0
