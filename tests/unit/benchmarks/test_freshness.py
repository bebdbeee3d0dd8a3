"""When latencies count, and how they are summed up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.freshness import Freshness, quantile


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_the_smallest_value_that_covers_its_share(values: list[float], ratio: float) -> None:
    """At least the share lies at or below it, and no smaller value of the list does that."""
    found = quantile(values, ratio)
    needed = ratio * len(values)
    assert found in values
    assert sum(value <= found for value in values) >= needed - 1e-9
    assert sum(value < found for value in values) < needed + 1e-9


@pytest.mark.parametrize(("ratio", "wanted"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)])
def test_quantiles_of_one_to_a_hundred(ratio: float, wanted: float) -> None:
    """Known values, so that an error by one shows."""
    assert quantile([float(n) for n in range(100, 0, -1)], ratio) == wanted


def test_nothing_has_no_quantile() -> None:
    """No value gives not a number, never zero."""
    assert math.isnan(quantile([], 0.5))


def _freshness(*, slip_s: float = 0.001, unseen: int = 0, unfound: int = 0) -> Freshness:
    return Freshness(
        rate_per_s=100.0, indexed_s=[0.1], found_s=[0.1], slip_s=[slip_s] * 100, unseen=unseen, unfound=unfound
    )


def test_a_run_on_time_counts() -> None:
    """Everything searchable and sent when it was due: the numbers count."""
    assert _freshness().why_invalid() == ""


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (_freshness(unseen=3), "3 turns were not searchable"),
        (_freshness(unfound=2), "2 sampled turns were not found"),
        (_freshness(slip_s=0.2), "200 ms late"),
    ],
)
def test_a_run_that_says_nothing_says_why(run: Freshness, why: str) -> None:
    """What is missing from the latencies, or was sent too late, makes them invalid."""
    assert why in run.why_invalid()
