"""What errors lead to."""

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.ladder import Backoff, Rung, classify
from streams.errors import BugError, FencedError, PoisonError, RateLimitedError, RefusedError, TransientError


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (TransientError("away"), Rung.RETRY),
        (RateLimitedError("slow down"), Rung.RETRY),
        (FencedError("taken over"), Rung.STOP),
        (RefusedError("no"), Rung.STOP),
        (BugError("impossible"), Rung.STOP),
        (MemoryError(), Rung.STOP),
        (PoisonError("bad"), Rung.BISECT),
        (KeyError("surprise"), Rung.BISECT),
    ],
)
def test_every_error_has_one_way_to_be_handled(error: BaseException, step: Rung) -> None:
    """Passing ones are retried, ours to mend stop the stage, anything else is isolated."""
    assert classify(error) is step


def backoff(seed: int = 0) -> Backoff:
    return Backoff(timedelta(seconds=0.1), timedelta(seconds=5), random.Random(seed))


@given(st.integers(), st.integers(1, 60))
def test_waits_double_with_jitter_up_to_a_limit(seed: int, failures: int) -> None:
    """Each wait lies in the upper half of its bound, and no bound exceeds the limit."""
    waiting = backoff(seed)
    for failure in range(failures):
        bound_s = min(0.1 * 2**failure, 5)
        assert bound_s / 2 <= waiting.next_delay_s(TransientError("away")) <= bound_s


def test_the_other_side_is_never_asked_earlier_than_it_wants() -> None:
    """`retry_after` wins over a shorter backoff."""
    assert backoff().next_delay_s(TransientError("busy", retry_after=timedelta(seconds=30))) == 30


def test_rate_limits_spend_no_retries() -> None:
    """Backpressure is no failure: the count and so the bound stay where they were."""
    waiting = backoff()
    for _ in range(5):
        waiting.next_delay_s(RateLimitedError("slow down"))

    assert waiting.failures == 0
