"""What the ledger tells about stages."""

from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.stage_rates import rates
from schemas.outcome import LedgerEntry

_START = datetime(2025, 3, 1, tzinfo=UTC)


def _entry(stage: str, at_s: float, *, partition: int = 0, applied: int = 10, filtered: int = 0) -> LedgerEntry:
    return LedgerEntry(
        stage=stage,
        topic="t",
        partition=partition,
        first_offset=0,
        last_offset=applied + filtered - 1,
        applied=applied,
        filtered=filtered,
        dead_lettered=0,
        verdicts=[],
        decided_at=_START + timedelta(seconds=at_s),
    )


def test_entries_of_one_moment_are_one_batch() -> None:
    """A batch over two partitions writes two entries and counts once, with the records of both."""
    (embed,) = rates([_entry("embed", 0), _entry("embed", 0, partition=1), _entry("embed", 2, filtered=5)])
    assert (embed.batches, embed.records, embed.seconds) == (2, 35, 2.0)
    assert embed.records_a_batch == pytest.approx(17.5)
    assert embed.records_per_s == pytest.approx(17.5)


def test_stages_stand_in_event_order() -> None:
    """Whatever the order of the entries, record comes before index."""
    assert [rate.stage for rate in rates([_entry("index", 0), _entry("record", 1)])] == ["record", "index"]


def test_a_single_batch_has_no_rate() -> None:
    """One moment has no duration: the rate is not a number, and nothing divides by zero."""
    (record,) = rates([_entry("record", 0)])
    assert record.records_per_s != record.records_per_s
