"""The checks over workers' journals accept what may happen and reject every way of breaking their law."""

from collections.abc import Sequence

import pytest
from chaos.journal import Deed, Entry, Part
from chaos.journal_checks import (
    afterlife,
    check_covers,
    check_delivered_once,
    check_effects,
    check_not_settled_again,
    check_zombie,
    open_parts,
    repeated_effects,
    stale_writes,
)
from e2e.log_history import LogHistory, LogRecord

from topology.graph import GRAPH, StageName

FIRST, SECOND = 101, 202
INDEX = StageName.INDEX
SECOND_NS = 1_000_000_000


def journal(*lines: tuple[int, Deed, int, int]) -> list[Entry]:
    """Entries of the index stage and partition 0, one a line: process, deed, first and last offset."""
    return [
        Entry(at_ns=number * SECOND_NS, pid=pid, stage=INDEX, deed=deed, parts=[Part(0, first, last)])
        for number, (pid, deed, first, last) in enumerate(lines)
    ]


def settled(pid: int, first: int, last: int) -> list[tuple[int, Deed, int, int]]:
    """A batch that went through."""
    deeds = (Deed.DECIDING, Deed.PERFORMING, Deed.PERFORMED, Deed.COMMITTED)
    return [(pid, deed, first, last) for deed in deeds]


CALM = journal(*settled(FIRST, 0, 7), *settled(FIRST, 8, 11), *settled(SECOND, 14, 20))
"""Two processes after one another; nothing stands at 12 and 13, as behind a transaction's marker."""

DIED_BEHIND_THE_EFFECT = journal(
    (FIRST, Deed.DECIDING, 0, 7), (FIRST, Deed.PERFORMING, 0, 7), *settled(SECOND, 0, 3), *settled(SECOND, 4, 9)
)


def history_of(*offsets: int) -> LogHistory:
    """Every stage's input has records at these offsets of its only partition."""
    history = LogHistory(1)
    for spec in GRAPH:
        name = spec.reads.name
        history.records[name, 0] = [LogRecord(name, 0, offset, 0, None, None, [], None) for offset in offsets]
    return history


def by_all_stages(entries: Sequence[Entry]) -> list[Entry]:
    """The same deeds in every stage."""
    return [
        Entry(at_ns=entry.at_ns, pid=entry.pid, stage=spec.name, deed=entry.deed, parts=entry.parts)
        for entry in entries
        for spec in GRAPH
    ]


def test_a_calm_journal_breaks_no_law() -> None:
    """What happens once, in order, is accepted by every check."""
    findings = [
        *check_covers(by_all_stages(CALM), history_of(0, 7, 8, 11, 14, 20)),
        *check_not_settled_again(CALM),
        *check_delivered_once(CALM),
        *check_effects(CALM, killed=()),
    ]

    assert findings == []
    assert repeated_effects(CALM, INDEX) == 0


def test_a_record_that_nobody_saw_is_found() -> None:
    """A record between two batches was settled unwatched."""
    assert len(check_covers(by_all_stages(CALM), history_of(0, 12, 20))) == len(GRAPH)


def test_a_stage_that_was_not_watched_is_found() -> None:
    """Journals of other stages say nothing about this one."""
    watched = [entry for entry in by_all_stages(CALM) if entry.stage is not INDEX]

    assert check_covers(watched, history_of(0, 7)) == ["index 0: nobody saw 2 records, one is 0"]


@pytest.mark.parametrize("first", [3, 7], ids=["from the middle", "the last one"])
def test_a_record_handed_out_after_its_commit_is_found(first: int) -> None:
    """A successor that begins before the position is caught, by one record too."""
    entries = journal(*settled(FIRST, 0, 7), (SECOND, Deed.DECIDING, first, 12))

    assert check_not_settled_again(entries) == [
        f"index 0: process 202 was handed {first} again; 101 had settled everything up to 7"
    ]


def test_a_record_handed_out_again_before_any_commit_is_no_second_settling() -> None:
    """What a killed process left open must be handed out again."""
    assert check_not_settled_again(DIED_BEHIND_THE_EFFECT) == []


def test_partitions_and_stages_are_kept_apart() -> None:
    """The same offsets elsewhere are other records."""
    elsewhere = [
        Entry(at_ns=50 * SECOND_NS, pid=SECOND, stage=INDEX, deed=Deed.DECIDING, parts=[Part(1, 0, 7)]),
        Entry(at_ns=51 * SECOND_NS, pid=SECOND, stage=StageName.EMBED, deed=Deed.DECIDING, parts=[Part(0, 0, 7)]),
    ]

    assert check_not_settled_again([*CALM, *elsewhere]) == []
    assert check_delivered_once([*CALM, *elsewhere]) == []


@pytest.mark.parametrize("by", [FIRST, SECOND], ids=["the same process", "another one"])
def test_a_record_handed_out_twice_is_found(by: int) -> None:
    """An orderly rebalance hands nothing out again, committed or not."""
    entries = journal((FIRST, Deed.DECIDING, 0, 7), (by, Deed.DECIDING, 5, 9))

    assert len(check_delivered_once(entries)) == 1


def test_a_repetition_is_found_behind_later_batches() -> None:
    """It need not follow at once."""
    entries = journal(*settled(FIRST, 0, 7), *settled(FIRST, 8, 9), (SECOND, Deed.DECIDING, 2, 3))

    assert len(check_delivered_once(entries)) == 1


def test_an_effect_done_again_after_a_death_is_allowed_and_counted() -> None:
    """Only the second begins where the first had been; what follows is new or was never begun by the living."""
    assert check_effects(DIED_BEHIND_THE_EFFECT, killed=[FIRST]) == []
    assert repeated_effects(DIED_BEHIND_THE_EFFECT, INDEX) > 0


def test_an_effect_done_again_without_a_death_is_found() -> None:
    """The living have no reason to repeat one."""
    assert check_effects(DIED_BEHIND_THE_EFFECT, killed=[]) != []


def test_an_effect_done_twice_by_the_successor_is_found() -> None:
    """A death excuses what the dead began, not what the living repeat."""
    entries = journal((FIRST, Deed.PERFORMING, 0, 7), (SECOND, Deed.PERFORMING, 0, 7), (SECOND, Deed.PERFORMING, 0, 7))

    assert len(check_effects(entries, killed=[FIRST])) == 1


def test_an_effect_done_again_after_its_commit_is_found_whoever_died() -> None:
    """What is settled has had its effect."""
    entries = journal(*settled(FIRST, 0, 7), (SECOND, Deed.PERFORMING, 4, 9))

    assert check_effects(entries, killed=[FIRST]) == ["index 0: process 202 performed 4 again, which was settled"]


def test_a_write_older_than_anothers_is_named() -> None:
    """Only what the process itself wrote behind a newer write of another one counts as stale."""

    def performed(number: int, pid: int, **revisions: int) -> Entry:
        return Entry(at_ns=number, pid=pid, stage=INDEX, deed=Deed.PERFORMED, revisions=revisions)

    entries = [
        performed(1, FIRST, a=1, b=1),
        performed(2, SECOND, a=3, c=9),
        performed(3, FIRST, a=2, b=2, c=9),
    ]

    assert stale_writes(entries, pid=FIRST) == {"a": (2, 3)}
    assert stale_writes(entries, pid=SECOND) == {}


ZOMBIE = [
    (FIRST, Deed.DECIDING, 0, 7),
    (FIRST, Deed.MET_FATE, 0, 0),
    *settled(SECOND, 0, 7),
    *settled(SECOND, 8, 11),
    (FIRST, Deed.WENT_ON, 0, 0),
]
"""The first one froze with a batch, the second one settled that and more, the first one is thawed."""


def test_what_a_zombie_does_ends_with_new_partitions() -> None:
    """Then it is a worker like any other."""
    entries = journal(*ZOMBIE, (FIRST, Deed.REFUSED, 0, 7), (FIRST, Deed.ASSIGNED, 12, 12), *settled(FIRST, 12, 15))

    assert [entry.deed for entry in afterlife(entries, pid=FIRST)] == [Deed.WENT_ON, Deed.REFUSED]


def test_an_assignment_of_nothing_is_no_life() -> None:
    """A zombie that joins again is given nothing at first, and what it has open is refused after that."""
    nothing = Entry(at_ns=90 * SECOND_NS, pid=FIRST, stage=INDEX, deed=Deed.ASSIGNED, parts=[])
    refused = Entry(at_ns=91 * SECOND_NS, pid=FIRST, stage=INDEX, deed=Deed.REFUSED, parts=[Part(0, 0, 7)])

    found = afterlife([*journal(*ZOMBIE), nothing, refused], pid=FIRST)

    assert [entry.deed for entry in found] == [Deed.WENT_ON, Deed.ASSIGNED, Deed.REFUSED]


def test_a_zombie_may_learn_that_its_batch_was_settled() -> None:
    """That it is settled is true, though by another."""
    entries = journal(*ZOMBIE, (FIRST, Deed.PERFORMING, 0, 7), (FIRST, Deed.COMMITTED, 0, 7))

    assert check_zombie(entries, pid=FIRST) == []


def test_a_zombie_may_learn_late_that_it_had_committed() -> None:
    """The broker's answer came while it was frozen; the other one was told to begin behind that batch."""
    entries = journal(
        (FIRST, Deed.PERFORMED, 0, 7),
        (FIRST, Deed.MET_FATE, 0, 7),
        (SECOND, Deed.ASSIGNED, 8, 8),
        (FIRST, Deed.WENT_ON, 0, 7),
        (FIRST, Deed.COMMITTED, 0, 7),
    )

    assert check_zombie(entries, pid=FIRST) == []
    assert check_zombie([*entries[:2], *entries[3:]], pid=FIRST) == ["index 0: the zombie committed up to 7"]


def test_a_zombie_that_commits_is_found() -> None:
    """What nobody else had settled it must not settle."""
    entries = journal(*ZOMBIE, (FIRST, Deed.COMMITTED, 8, 12))

    assert check_zombie(entries, pid=FIRST) == ["index 0: the zombie committed up to 12"]


def test_what_is_open_was_taken_and_lies_behind_the_commits() -> None:
    """Of the process and stage asked about alone; a batch that was decided again counts once it has committed."""
    entries = journal(
        *settled(FIRST, 0, 7),
        (FIRST, Deed.DECIDING, 8, 9),
        (FIRST, Deed.DECIDING, 10, 12),
        (SECOND, Deed.DECIDING, 20, 21),
    )

    assert open_parts(entries, pid=FIRST, stage=INDEX) == [Part(0, 8, 9), Part(0, 10, 12)]
    assert open_parts(entries, pid=FIRST, stage=StageName.EMBED) == []
    assert open_parts([*entries, *journal((FIRST, Deed.COMMITTED, 8, 12))], pid=FIRST, stage=INDEX) == []
