"""The books of one batch."""

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st
from in_process_log import START
from raw_records import raw_batch, raw_record

from schemas.outcome import DeadLetter, LedgerEntry, Outcome, Reason, Verdict
from streams.engine.batcher import RawBatch
from streams.engine.ledger import Failed, dead_letter_outputs, ledger_outputs
from streams.engine.stage import Decision
from streams.errors import BugError
from topology import graph, topics

SPEC = graph.stage("record")


def message(partition: int, offset: int) -> Message:
    return raw_record(
        partition,
        offset,
        b"\xff raw",
        key=b"acme/u1",
        headers=[("h", b"v")],
        timestamp_ms=int(START.timestamp() * 1000),
    )


def batch(*places: tuple[int, int]) -> RawBatch:
    return raw_batch(message(*place) for place in places)


def entries(raw: RawBatch, decision: Decision, failed: list[Failed] | None = None) -> list[LedgerEntry]:
    outputs = ledger_outputs(SPEC, raw, decision, failed or [], generation=2, decided_at=START)
    return [topics.LEDGER.codec.decode(output.value) for output in outputs]


@given(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 50)), min_size=1))
def test_all_entries_of_a_batch_stand_in_the_partition_of_its_lowest(places: set[tuple[int, int]]) -> None:
    """One entry for each input partition, where readers look for it."""
    outputs = ledger_outputs(SPEC, batch(*sorted(places)), Decision(), [], generation=2, decided_at=START)

    lowest = min(partition for partition, _ in places)
    assert {output.partition for output in outputs} == {lowest}
    about = [topics.LEDGER.codec.decode(output.value).partition for output in outputs]
    assert about == sorted({partition for partition, _ in places})
    assert all(lowest in topics.ledger_partitions(partition) for partition in about)


def failed(record: Message) -> Failed:
    return Failed(message=record, reason=Reason.UNDECODABLE, error="bad", attempts=1)


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 3), st.integers(0, 50)), st.sampled_from(["applied", "filtered", "dead"]), min_size=1
    )
)
def test_every_record_is_counted_once(outcomes: dict[tuple[int, int], str]) -> None:
    """Applied, filtered and dead-lettered are disjoint and add up to the batch, per partition."""
    raw = batch(*sorted(outcomes))
    decision = Decision()
    letters = []
    for _, record in raw:
        place = record.partition(), record.offset()
        if outcomes[place] == "filtered":  # type: ignore[index]
            decision.verdicts.setdefault(place[0], []).append(Verdict(place[1], Outcome.FILTERED, Reason.DUPLICATE))  # type: ignore[index,arg-type]
        elif outcomes[place] == "dead":  # type: ignore[index]
            letters.append(failed(record))

    found = {entry.partition: entry for entry in entries(raw, decision, letters)}

    assert set(found) == {partition for partition, _ in outcomes}
    for partition, entry in found.items():
        here = {offset: what for (p, offset), what in outcomes.items() if p == partition}
        assert (entry.first_offset, entry.last_offset) == (min(here), max(here))
        assert entry.applied == list(here.values()).count("applied")
        assert entry.filtered == list(here.values()).count("filtered")
        assert entry.dead_lettered == list(here.values()).count("dead")
        assert [v.offset for v in entry.verdicts] == sorted(o for o, what in here.items() if what != "applied")


@pytest.mark.parametrize(
    "verdicts",
    [
        {0: [Verdict(1, Outcome.FILTERED, Reason.DUPLICATE)] * 2},
        {0: [Verdict(9, Outcome.FILTERED, Reason.DUPLICATE)]},
        {3: [Verdict(1, Outcome.FILTERED, Reason.DUPLICATE)]},
    ],
    ids=["two outcomes for one event", "an event that is not there", "a partition that is not there"],
)
def test_books_that_do_not_balance_are_refused(verdicts: dict[int, list[Verdict]]) -> None:
    """A stage that miscounts stops before it commits."""
    with pytest.raises(BugError):
        entries(batch((0, 1), (0, 2)), Decision(verdicts=verdicts))


def test_a_dead_letter_is_whole() -> None:
    """Raw bytes, key, headers, place and time of the record, and why it failed."""
    (output,) = dead_letter_outputs(SPEC, [failed(message(2, 7))], failed_at=START)

    assert output.partition == 2
    assert topics.DLQ.codec.decode(output.value) == DeadLetter(
        stage="record",
        topic="conversation.events.v1",
        partition=2,
        offset=7,
        recorded_at=START,
        key=b"acme/u1",
        value=b"\xff raw",
        headers=[("h", b"v")],
        reason=Reason.UNDECODABLE,
        error="bad",
        attempts=1,
        failed_at=START,
    )
