"""The books of one stage and partition."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.streams.clients.log_of_messages import START

from schemas.outcome import LedgerEntry, Outcome, Reason, Verdict
from streams.clients.verification import books
from streams.clients.verification.books import Page
from streams.clients.verification.findings import Fault, Kind

TOPIC = "conversation.events.v1"
DEAD = Verdict(3, Outcome.DEAD_LETTERED, Reason.POISON)
FILTERED = Verdict(1, Outcome.FILTERED, Reason.DUPLICATE)


def entry(first: int, last: int, applied: int, *verdicts: Verdict, **fields: Any) -> LedgerEntry:
    """An entry that counts its verdicts right."""
    filtered = sum(verdict.outcome is Outcome.FILTERED for verdict in verdicts)
    stated: dict[str, Any] = {
        "stage": "record",
        "topic": TOPIC,
        "partition": 2,
        "applied": applied,
        "filtered": filtered,
        "dead_lettered": len(verdicts) - filtered,
    }
    return LedgerEntry(
        first_offset=first, last_offset=last, verdicts=list(verdicts), decided_at=START, **stated | fields
    )


def page(*entries: LedgerEntry, **fields: Any) -> Page:
    """Records 0, 1, 3, 4 and 7, with markers between them; all settled unless said otherwise."""
    stated: dict[str, Any] = {
        "offsets": np.array([0, 1, 3, 4, 7], dtype=np.int64),
        "kept_from": 0,
        "read_to": 9,
        "position": 9,
        "letters": Counter({3: 1}),
    }
    return Page(stage="record", topic=TOPIC, partition=2, entries=entries, **stated | fields)


def faults_of(checked: Page) -> list[Fault]:
    """What all checks find."""

    def each() -> Iterator[Fault]:
        for check in (books.check_outcomes, books.check_entries, books.check_letters):
            yield from check(checked)

    return list(each())


SOUND = (entry(0, 3, 1, FILTERED, DEAD), entry(4, 7, 2))


def test_sound_books_pass() -> None:
    """Offsets that are no records need no outcome, and the sums are those of the records."""
    assert faults_of(page(*SOUND)) == []
    assert books.tally(page(*SOUND)) == books.Tally(settled=5, applied=3, filtered=1, dead_lettered=1)


@pytest.mark.parametrize(
    ("spoilt", "expected"),
    [
        pytest.param(page(SOUND[0]), Fault(Kind.NO_OUTCOME, f"record {TOPIC} 2/4 to 7", 2), id="entry lost"),
        pytest.param(
            page(entry(1, 3, 0, FILTERED, DEAD), SOUND[1]),
            Fault(Kind.NO_OUTCOME, f"record {TOPIC} 2/0"),
            id="begins late",
        ),
        pytest.param(page(*SOUND, entry(4, 4, 1)), Fault(Kind.TWO_OUTCOMES, f"record {TOPIC} 2/4"), id="settled twice"),
        pytest.param(
            page(SOUND[0], entry(4, 7, 3)),
            Fault(Kind.MISCOUNTED, f"record {TOPIC} 2/4 to 7: 2 records, outcomes of 3"),
            id="counts a marker",
        ),
        pytest.param(
            page(entry(0, 3, 1, FILTERED, DEAD, filtered=2, dead_lettered=0), SOUND[1]),
            Fault(
                Kind.MISCOUNTED,
                f"record {TOPIC} 2/0 to 3: 2 filtered and 0 dead-lettered, but verdicts on 1 and 1",
            ),
            id="verdicts and counts differ",
        ),
        pytest.param(
            page(entry(0, 3, 1, FILTERED, FILTERED), SOUND[1], letters=Counter()),
            Fault(Kind.STRANGE_VERDICT, f"record {TOPIC} 2/1: 2 verdicts"),
            id="two verdicts",
        ),
        pytest.param(
            page(entry(0, 3, 1, Verdict(2, Outcome.FILTERED, Reason.DUPLICATE), DEAD), SOUND[1]),
            Fault(Kind.STRANGE_VERDICT, f"record {TOPIC} 2/2: 1 verdicts"),
            id="verdict on a marker",
        ),
        pytest.param(
            page(*SOUND, entry(4, 4, 1, partition=1), letters=Counter({3: 1})),
            Fault(Kind.MISPLACED_ENTRY, f"record {TOPIC} 2/4: speaks of {TOPIC} 1"),
            id="entry in the wrong partition",
        ),
        pytest.param(page(*SOUND, letters=Counter()), Fault(Kind.NO_LETTER, f"record {TOPIC} 2/3"), id="no letter"),
        pytest.param(
            page(*SOUND, letters=Counter({3: 2})),
            Fault(Kind.TWO_LETTERS, f"record {TOPIC} 2/3: 2 letters"),
            id="two letters",
        ),
        pytest.param(
            page(*SOUND, letters=Counter({3: 1, 4: 1})),
            Fault(Kind.STRANGE_LETTER, f"record {TOPIC} 2/4"),
            id="letter of an applied record",
        ),
        pytest.param(
            page(*SOUND, redriven={4: [7]}),
            Fault(Kind.LOST_REDRIVE, f"record {TOPIC} 2/4: there is no such letter"),
            id="redriven from nowhere",
        ),
        pytest.param(
            page(*SOUND, redriven={3: [6]}),
            Fault(Kind.LOST_REDRIVE, f"record {TOPIC} 2/3: its copy at 6 is not there"),
            id="copy lost",
        ),
    ],
)
def test_books_that_do_not_balance_are_rejected(spoilt: Page, expected: Fault) -> None:
    """Each way in which books can be wrong is found and named by its offset."""
    assert expected in faults_of(spoilt)


def test_what_lies_behind_the_position_is_pending() -> None:
    """Records that the stage has not committed yet are no fault, and neither is what was written meanwhile."""
    checked = page(SOUND[0], position=4)
    assert faults_of(checked) == []
    assert books.tally(checked) == books.Tally(settled=3, applied=1, filtered=1, dead_lettered=1, pending=2)
    newer = entry(8, 9, 1, Verdict(9, Outcome.DEAD_LETTERED, Reason.POISON))
    assert faults_of(page(*SOUND, newer, redriven={3: [10]})) == []


def test_a_letter_that_went_back_is_no_fault() -> None:
    """Its copy is a record as any other."""
    assert faults_of(page(*SOUND, redriven={3: [7]})) == []


def test_records_that_are_no_longer_kept_are_not_judged() -> None:
    """A topic that forgets leaves entries about records that cannot be counted any more."""
    assert faults_of(page(*SOUND, offsets=np.array([3, 4, 7], dtype=np.int64), kept_from=3)) == []


@given(st.data())
def test_exactly_the_records_outside_all_entries_have_no_outcome(data: st.DataObject) -> None:
    """Whatever entries there are, each record is found in none, one or more of them, as counting by hand says."""
    offsets = sorted(data.draw(st.sets(st.integers(0, 30), min_size=1)))
    spans = data.draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), max_size=6))
    entries = [entry(first, first + length, 0) for first, length in spans]
    position = data.draw(st.integers(0, 31))
    checked = page(*entries, offsets=np.array(offsets, dtype=np.int64), position=position)
    by_hand = {offset: sum(e.first_offset <= offset <= e.last_offset for e in entries) for offset in offsets}
    found = Counter[Kind]()
    for fault in books.check_outcomes(checked):
        found[fault.kind] += fault.count
    assert found[Kind.NO_OUTCOME] == sum(n == 0 and offset < position for offset, n in by_hand.items())
    assert found[Kind.TWO_OUTCOMES] == sum(n > 1 for n in by_hand.values())
