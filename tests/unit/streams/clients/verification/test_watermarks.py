"""Watermarks of one topic and partition."""

from hypothesis import given
from hypothesis import strategies as st
from unit.streams.clients.log_of_messages import START

from schemas.candidate import Candidate, Lane, Source, Watermark
from streams.clients.verification.findings import Kind
from streams.clients.verification.watermarks import WatermarkCheck


def check_of(*marks: int) -> tuple[WatermarkCheck, list[Kind]]:
    """A check that has seen these watermarks of one lane, and what it said about them."""
    check = WatermarkCheck("memory.candidates.v1", 0)
    found = [f.kind for offset, mark in enumerate(marks) for f in check.mark(offset, Watermark(Lane.RECORD, mark))]
    return check, found


def candidate(source: int, lane: Lane = Lane.RECORD) -> Candidate:
    """A turn from this offset."""
    return Candidate(
        lane=lane,
        kind="turn",
        tenant="acme",
        user_id="u1",
        memory_id="m",
        cause="e",
        text="said",
        conversation_id="c1",
        role="user",
        name=None,
        source_event_ids=["e"],
        source=Source(source, source, START),
        occurred_at=START,
        valid_from=START,
    )


@given(st.lists(st.integers(0, 9), max_size=8))
def test_exactly_the_marks_below_an_earlier_one_fell_back(marks: list[int]) -> None:
    """A watermark may stand still or rise."""
    check, found = check_of(*marks)
    fell = sum(mark < max(marks[:n], default=-1) for n, mark in enumerate(marks))
    assert found == [Kind.WATERMARK_FELL_BACK] * fell
    assert check.reached == ({Lane.RECORD: max(marks)} if marks else {})


def test_a_candidate_behind_its_watermark_is_found() -> None:
    """A watermark says that everything up to it has passed; lanes do not vouch for each other."""
    check, _ = check_of(5)
    check.candidate(7, candidate(6))
    check.candidate(8, candidate(5, Lane.EXTRACT))
    assert list(check.late_candidates(redriven=())) == []
    check.candidate(9, candidate(5))
    (fault,) = check.late_candidates(redriven=())
    assert (fault.kind, fault.example) == (
        Kind.WATERMARK_AHEAD,
        "memory.candidates.v1 0/9: a candidate of record from 5, behind the watermark 5",
    )


def test_a_candidate_that_came_back_from_the_dead_letters_may_be_late() -> None:
    """Its first place was in time."""
    check, _ = check_of(5)
    check.candidate(9, candidate(5))
    assert list(check.late_candidates(redriven={9})) == []


def test_a_lane_that_is_further_than_upstream_ran_ahead() -> None:
    """What upstream never said, nobody can forward."""
    check, _ = check_of(5)
    assert list(check.check_ahead({Lane.RECORD: 5}, of="the ledger")) == []
    for limits in ({Lane.RECORD: 4}, {Lane.EXTRACT: 9}):
        assert [fault.kind for fault in check.check_ahead(limits, of="the ledger")] == [Kind.WATERMARK_AHEAD]
