"""The books of one stage and partition: every record has one outcome, and every dead letter its record."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.outcome import LedgerEntry, Outcome
from streams.clients.verification.findings import Fault, Kind

Offsets = NDArray[np.int64]


@dataclass(kw_only=True)
class Page:
    """What a stage read in one partition, and what it wrote down about it.

    Attributes:
        stage: who.
        topic: what it reads.
        partition: which partition.
        offsets: of all committed records that are kept, ascending. Transaction markers and what was aborted are no
            records and need no outcome.
        kept_from: the first offset that the topic still keeps.
        read_to: where reading it ended; what was written later is not judged.
        position: the offset that the stage has committed: from here on everything is pending.
        entries: its ledger entries about this partition, wherever they stand, read after the position was taken.
        letters: offsets of its dead letters; one that stands there twice counts twice.
        redriven: offset of a letter to the offsets of its copies.
    """

    stage: str
    topic: str
    partition: int
    offsets: Offsets
    kept_from: int
    read_to: int
    position: int
    entries: Sequence[LedgerEntry]
    letters: Counter[int] = field(default_factory=Counter)
    redriven: Mapping[int, Sequence[int]] = field(default_factory=dict)

    def place(self, first: int, last: int | None = None) -> str:
        """A record, or a stretch of them, by name."""
        stretch = f"{first}" if last is None or last == first else f"{first} to {last}"
        return f"{self.stage} {self.topic} {self.partition}/{stretch}"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How a page adds up.

    Attributes:
        settled: records before the position.
        applied: by the entries, as all that follow.
        filtered: see `schemas.outcome`.
        dead_lettered: see `schemas.outcome`.
        pending: records that the stage has still to settle.
    """

    settled: int = 0
    applied: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    pending: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            settled=self.settled + other.settled,
            applied=self.applied + other.applied,
            filtered=self.filtered + other.filtered,
            dead_lettered=self.dead_lettered + other.dead_lettered,
            pending=self.pending + other.pending,
        )


def tally(page: Page) -> Tally:
    """How a page adds up; entries behind the position are pending, like their records."""
    settled = int(np.searchsorted(page.offsets, page.position))
    entries = [entry for entry in page.entries if entry.first_offset < page.position]
    return Tally(
        settled=settled,
        applied=sum(entry.applied for entry in entries),
        filtered=sum(entry.filtered for entry in entries),
        dead_lettered=sum(entry.dead_lettered for entry in entries),
        pending=len(page.offsets) - settled,
    )


def check_outcomes(page: Page) -> Iterator[Fault]:
    """Every record before the position stands in exactly one entry, whatever came behind it in none or one."""
    outcomes = _outcomes(page)
    unsettled = (outcomes == 0) & (page.offsets < page.position)
    for kind, chosen in ((Kind.NO_OUTCOME, unsettled), (Kind.TWO_OUTCOMES, outcomes > 1)):
        for first, last, count in _stretches(page.offsets, chosen):
            yield Fault(kind, page.place(first, last), count)


def check_entries(page: Page) -> Iterator[Fault]:
    """Every entry counts its records right: applied + filtered + dead-lettered, each verdict on one of them."""
    for entry in page.entries:
        name = page.place(entry.first_offset, entry.last_offset)
        if (entry.topic, entry.partition) != (page.topic, page.partition):
            yield Fault(Kind.MISPLACED_ENTRY, f"{name}: speaks of {entry.topic} {entry.partition}")
            continue
        stated = entry.applied + entry.filtered + entry.dead_lettered
        by_verdict = Counter(verdict.outcome for verdict in entry.verdicts)
        # Records that are no longer kept, or were written while the ledger was read, cannot be counted.
        if entry.first_offset >= page.kept_from and entry.last_offset < page.read_to:
            covered = page.offsets[slice(*_bounds(page.offsets, entry))]
            if len(covered) != stated:
                yield Fault(Kind.MISCOUNTED, f"{name}: {len(covered)} records, outcomes of {stated}")
            yield from _strange_verdicts(page, entry, covered)
        if (by_verdict[Outcome.FILTERED], by_verdict[Outcome.DEAD_LETTERED]) != (entry.filtered, entry.dead_lettered):
            yield Fault(
                Kind.MISCOUNTED,
                f"{name}: {entry.filtered} filtered and {entry.dead_lettered} dead-lettered, but verdicts on "
                f"{by_verdict[Outcome.FILTERED]} and {by_verdict[Outcome.DEAD_LETTERED]}",
            )


def check_letters(page: Page) -> Iterator[Fault]:
    """Every dead-lettered record has one letter, every letter its verdict, and every redriven one its copy."""
    dead = {
        verdict.offset
        for entry in page.entries
        for verdict in entry.verdicts
        if verdict.outcome is Outcome.DEAD_LETTERED
    }
    for offset in sorted(dead - page.letters.keys()):
        if offset < page.position:
            yield Fault(Kind.NO_LETTER, page.place(offset))
    for offset, count in sorted(page.letters.items()):
        if count > 1:
            yield Fault(Kind.TWO_LETTERS, f"{page.place(offset)}: {count} letters")
        if offset not in dead and offset < page.position:
            yield Fault(Kind.STRANGE_LETTER, page.place(offset))
    for offset, copies in sorted(page.redriven.items()):
        if offset not in page.letters:
            yield Fault(Kind.LOST_REDRIVE, f"{page.place(offset)}: there is no such letter")
        for copy in copies:
            if page.kept_from <= copy < page.read_to and not _contains(page.offsets, copy):
                yield Fault(Kind.LOST_REDRIVE, f"{page.place(offset)}: its copy at {copy} is not there")


def _outcomes(page: Page) -> Offsets:
    """How many entries each record stands in."""
    steps = np.zeros(len(page.offsets) + 1, dtype=np.int64)
    for entry in page.entries:
        start, stop = _bounds(page.offsets, entry)
        if start < stop:
            steps[start] += 1
            steps[stop] -= 1
    return np.cumsum(steps[:-1])


def _bounds(offsets: Offsets, entry: LedgerEntry) -> tuple[int, int]:
    start = np.searchsorted(offsets, entry.first_offset)
    return int(start), int(np.searchsorted(offsets, entry.last_offset, side="right"))


def _strange_verdicts(page: Page, entry: LedgerEntry, covered: Offsets) -> Iterator[Fault]:
    judged = Counter(verdict.offset for verdict in entry.verdicts)
    for offset, count in judged.items():
        if count > 1 or not _contains(covered, offset):
            yield Fault(Kind.STRANGE_VERDICT, f"{page.place(offset)}: {count} verdicts")


def _contains(offsets: Offsets, offset: int) -> bool:
    at = int(np.searchsorted(offsets, offset))
    return at < len(offsets) and int(offsets[at]) == offset


def _stretches(offsets: Offsets, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """First offset, last offset and length of each run of chosen records."""
    indices = np.flatnonzero(chosen)
    if len(indices) == 0:
        return
    for run in np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1):
        yield int(offsets[run[0]]), int(offsets[run[-1]]), len(run)
