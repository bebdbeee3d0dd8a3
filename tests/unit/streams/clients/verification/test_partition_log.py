"""One partition of all topics, read and judged."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.streams.clients.log_of_messages import PARTITIONS, START, LogOfMessages
from unit.streams.clients.verification.test_watermarks import candidate
from unit.streams.clients.verification.users_changes import PARTITION, USER, change, head_of

from schemas import headers
from schemas.candidate import Lane, Watermark
from schemas.conversation import Turn
from schemas.indexed import Indexed, IndexedUser
from schemas.outcome import DeadLetter, LedgerEntry, Outcome, Reason, Redriven, Verdict
from streams.clients.verification.findings import Kind
from streams.clients.verification.partition_log import Advance, PartitionLog
from topology import topics
from topology.graph import GRAPH

EVENTS = topics.CONVERSATION_EVENTS


def entry(stage: str, topic: str, first: int, last: int, applied: int, *verdicts: Verdict) -> LedgerEntry:
    filtered = sum(verdict.outcome is Outcome.FILTERED for verdict in verdicts)
    return LedgerEntry(
        stage=stage,
        topic=topic,
        partition=PARTITION,
        first_offset=first,
        last_offset=last,
        applied=applied,
        filtered=filtered,
        dead_lettered=len(verdicts) - filtered,
        verdicts=list(verdicts),
        decided_at=START,
    )


def about(partition: int) -> LedgerEntry:
    """What record says about some partition."""
    return msgspec.structs.replace(entry("record", EVENTS.name, 0, 99, 100), partition=partition)


def letter(offset: int) -> DeadLetter:
    return DeadLetter(
        stage="record",
        topic=EVENTS.name,
        partition=PARTITION,
        offset=offset,
        recorded_at=START,
        key=b"k",
        value=b"no event",
        headers=[],
        reason=Reason.UNDECODABLE,
        error="no JSON",
        attempts=1,
        failed_at=START,
    )


def sound_log(ledger: Sequence[int] = (PARTITION,) * len(GRAPH)) -> LogOfMessages:
    """A turn, a marker, and an event that cannot be decoded, was dead-lettered and went back once.

    Args:
        ledger: in which of its partitions each stage's entry stands, in event order.
    """
    log = LogOfMessages()
    places = dict(zip((str(spec.name) for spec in GRAPH), ledger, strict=True))
    turn = Turn(user_id="u1", tenant="acme", conversation_id="c", event_id="e", role="user", content="said")
    log.write(EVENTS, PARTITION, turn)
    log.write_marker(EVENTS, PARTITION)
    log.write(EVENTS, PARTITION, b"no event")
    log.write(EVENTS, PARTITION, b"no event")
    other_lane = Verdict(3, Outcome.FILTERED, Reason.OTHER_LANE)
    dead = [Verdict(n, Outcome.DEAD_LETTERED, Reason.UNDECODABLE) for n in (2, 3)]
    for stage, verdicts in (("record", dead), ("extract", [dead[0], other_lane])):
        log.write(topics.LEDGER, places[stage], entry(stage, EVENTS.name, 0, 3, 1, *verdicts))
    for one in (letter(2), letter(3)):
        log.write(topics.DLQ, PARTITION, one)
    in_extract = {"stage": "extract"}
    log.write(topics.DLQ, PARTITION, DeadLetter(**(as_fields(letter(2)) | in_extract)))
    note = Redriven(
        stage="record",
        topic=EVENTS.name,
        partition=PARTITION,
        offset=2,
        redriven_at=START,
        to_partition=PARTITION,
        to_offset=3,
    )
    log.write(topics.DLQ, PARTITION, note)
    told = [change(1, "a")]
    carried = [(headers.VECTOR, b"\x00\x00"), (headers.HEAD, topics.HEADS.codec.encode(head_of(told)))]
    log.write(topics.CHANGES, PARTITION, told[0], headers=carried)
    log.write(topics.HEADS, PARTITION, head_of(told))
    marks = [Watermark(Lane.RECORD, 3), Watermark(Lane.EXTRACT, 1)]
    for spec in (topics.CANDIDATES, topics.EMBEDDED, topics.CHANGES):
        for mark in marks:
            log.write(spec, PARTITION, mark)
    users = [IndexedUser(USER.tenant, USER.user_id, 1, [told[0].memory_id])]
    log.write(topics.INDEXED, PARTITION, Indexed(generation=1, users=users, watermarks=marks))
    for stage, topic, last in (
        ("embed", topics.CANDIDATES, 1),
        ("consolidate", topics.EMBEDDED, 1),
        ("index", topics.CHANGES, 2),
        ("invalidate", topics.INDEXED, 0),
    ):
        log.write(topics.LEDGER, places[stage], entry(stage, topic.name, 0, last, last + 1))
    return log


def as_fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def judged(log: LogOfMessages, partition: int = PARTITION, *, advance: Advance = lambda _: None) -> PartitionLog:
    """The partition, all of it settled."""
    positions = {str(spec.name): log.bounds(spec.reads)[partition].stop for spec in GRAPH}
    found = PartitionLog(log, partition, positions=positions, advance=advance)
    found.read_changes()
    found.read_books()
    return found


def test_a_sound_partition_passes_with_its_sums() -> None:
    """Markers, dead letters, redriven copies and the filtered copy of the other lane: all have their place."""
    found = judged(sound_log())
    assert found.faults == []
    record, extract = found.tallies["record"], found.tallies["extract"]
    assert (record.settled, record.applied, record.dead_lettered) == (3, 1, 2)
    assert (extract.settled, extract.filtered, extract.dead_lettered) == (3, 1, 1)
    assert found.announced(USER) == 1


@given(st.tuples(*[st.sampled_from(topics.ledger_partitions(PARTITION)) for _ in GRAPH]))
def test_entries_count_wherever_their_batches_wrote_them(ledger: tuple[int, ...]) -> None:
    """Each in its partition, as in older logs, or in lower ones, beside entries about other partitions: sound."""
    log, usual = sound_log(ledger), judged(sound_log())
    for partition in range(PARTITIONS):
        for standing_in in topics.ledger_partitions(partition):
            if partition != PARTITION:
                log.write(topics.LEDGER, standing_in, about(partition))
    found = judged(log)
    assert (found.faults, found.tallies) == ([], usual.tallies)


@pytest.mark.parametrize("partition", [PARTITION, PARTITIONS], ids=["a lower one", "one that is not there"])
def test_an_entry_that_nobody_looks_for_is_named_once(partition: int) -> None:
    """It settles nothing; what names it is the partition it stands in."""
    log = sound_log()
    at = log.write(topics.LEDGER, PARTITION + 1, about(partition))
    found = {p: judged(log, p) for p in range(PARTITIONS)}
    faults = [(p, fault.kind, fault.example) for p, log in found.items() for fault in log.faults]
    said = f"{topics.LEDGER.name} {PARTITION + 1}/{at}: speaks of {EVENTS.name} {partition}"
    assert faults == [(PARTITION + 1, Kind.MISPLACED_ENTRY, said)]


def test_books_lack_an_entry_that_nobody_looks_for() -> None:
    """An entry above its partition does not pass for an outcome."""
    log = sound_log((PARTITION + 1, *[PARTITION] * (len(GRAPH) - 1)))
    assert {fault.kind for fault in judged(log).faults} == {Kind.NO_OUTCOME, Kind.STRANGE_LETTER, Kind.WATERMARK_AHEAD}


def test_an_entry_about_another_stages_topic_is_named_wherever_it_stands() -> None:
    """In a lower partition too, where it stands among the rest of its batch."""
    log = sound_log((0,) * len(GRAPH))
    log.write(topics.LEDGER, 0, msgspec.structs.replace(about(PARTITION), topic=topics.CHANGES.name, first_offset=90))
    (fault,) = judged(log).faults
    assert (fault.kind, fault.example.split(": ")[1]) == (
        Kind.MISPLACED_ENTRY,
        f"speaks of {topics.CHANGES.name} {PARTITION}",
    )


def test_every_offset_that_is_read_is_told() -> None:
    """Those of the ledger's lower partitions too, which are read for this one."""
    log = sound_log((0, 0, 1, 1, PARTITION, PARTITION))
    told: list[int] = []
    judged(log, advance=told.append)
    own = (spec for spec in topics.TOPICS if spec is not topics.LEDGER)
    assert sum(told) == sum(len(log.bounds(spec)[PARTITION]) for spec in own) + len(GRAPH)


def test_what_cannot_be_read_is_named() -> None:
    """A ledger entry or a change that nobody can read is a fault; a candidate is its stage's to dead-letter."""
    log = sound_log()
    log.write(topics.LEDGER, PARTITION, b"\xff")
    log.write(topics.CHANGES, PARTITION, b"{}")
    log.write(topics.CANDIDATES, PARTITION, b"\xff")
    log.write(topics.LEDGER, 0, b"\xff")
    kinds = [fault.kind for fault in judged(log).faults]
    assert kinds.count(Kind.UNREADABLE) == 2  # the ledger's partition 0 is named with all else of that number
    assert [fault.kind for fault in judged(log, 0).faults] == [Kind.UNREADABLE]
    assert set(kinds) == {Kind.UNREADABLE, Kind.NO_OUTCOME}  # nobody has settled the last two


def test_a_watermark_that_no_stage_can_have_reached_is_found_where_it_first_stands() -> None:
    """On candidates it is compared with the books, further down with the topic before."""
    for spec, said in (
        (topics.CANDIDATES, "the ledger"),
        (topics.EMBEDDED, topics.CANDIDATES.name),
        (topics.CHANGES, topics.EMBEDDED.name),
    ):
        log = sound_log()
        log.write(spec, PARTITION, Watermark(Lane.RECORD, 9))
        ahead = [fault.example for fault in judged(log).faults if fault.kind is Kind.WATERMARK_AHEAD]
        assert ahead == [f"{spec.name} {PARTITION}: the watermark of record is at 9, {said} at 3"]


def test_an_aborted_stretch_needs_no_outcome() -> None:
    """Offsets without a committed record are passed over, however many."""
    log = sound_log()
    for _ in range(20):
        log.write_marker(EVENTS, PARTITION)
    assert judged(log).faults == []


def test_only_the_users_in_scope_are_judged() -> None:
    """A narrow scope reads the same partition and says nothing about others."""
    log = sound_log()
    positions = {spec.name: 100 for spec in GRAPH}
    found = PartitionLog(log, PARTITION, positions=positions, wanted=lambda user: user.user_id == "nobody")
    found.read_changes()
    assert (found.faults, found.fold.changes, found.heads) == ([], 0, 0)


def test_a_candidate_that_went_back_may_come_behind_its_watermark() -> None:
    """Its note tells the copy from a candidate that a watermark had promised to be there before."""
    for redriven in (True, False):
        log = sound_log()
        late = log.write(topics.CANDIDATES, PARTITION, candidate(2))
        if redriven:
            fields = {"stage": "embed", "topic": topics.CANDIDATES.name, "offset": 0, "to_offset": late}
            note = Redriven(redriven_at=START, partition=PARTITION, to_partition=PARTITION, **fields)  # type: ignore[arg-type]
            log.write(topics.DLQ, PARTITION, note)
        ahead = [fault.example for fault in judged(log).faults if fault.kind is Kind.WATERMARK_AHEAD]
        assert len(ahead) == (0 if redriven else 1)
