"""What may be found, in words, and the sum of what was found."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

_KEPT_EXAMPLES = 100
"""Of one kind of fault; the rest is counted only. A log without any books would else fill the memory."""


class Check(enum.StrEnum):
    """What is checked."""

    TRANSACTIONS = "transactions"
    POSITIONS = "positions"
    BOOKS = "books"
    REVISIONS = "revisions"
    WATERMARKS = "watermarks"
    STORE = "store"
    VERSIONS = "versions"


class Kind(enum.StrEnum):
    """A kind of fault; the words for people stand in `SAID`."""

    HANGING_TRANSACTION = "hanging_transaction"

    RECORDS_GONE = "records_gone"
    POSITION_AHEAD = "position_ahead"
    POSITION_SET_BACK = "position_set_back"

    NO_OUTCOME = "no_outcome"
    TWO_OUTCOMES = "two_outcomes"
    MISCOUNTED = "miscounted"
    STRANGE_VERDICT = "strange_verdict"
    MISPLACED_ENTRY = "misplaced_entry"
    NO_LETTER = "no_letter"
    TWO_LETTERS = "two_letters"
    STRANGE_LETTER = "strange_letter"
    LOST_REDRIVE = "lost_redrive"
    UNREADABLE = "unreadable"

    REVISION_GAP = "revision_gap"
    WRONG_PARTITION = "wrong_partition"
    NO_VECTOR = "no_vector"
    NO_HEAD = "no_head"
    HEAD_DEPARTS = "head_departs"

    WATERMARK_FELL_BACK = "watermark_fell_back"
    WATERMARK_AHEAD = "watermark_ahead"

    MISSING = "missing"
    OLDER = "older"
    DIFFERENT = "different"
    SURPLUS = "surplus"
    STORE_HEAD_BEHIND = "store_head_behind"
    STORE_HEAD_DEPARTS = "store_head_departs"
    STRANGERS = "strangers"

    VERSION_AHEAD = "version_ahead"


SAID: dict[Kind, tuple[Check, str]] = {
    Kind.HANGING_TRANSACTION: (
        Check.TRANSACTIONS,
        "transactions that do not end, which no reader of their partition passes",
    ),
    Kind.RECORDS_GONE: (Check.POSITIONS, "records that were deleted before their stage had settled them"),
    Kind.POSITION_AHEAD: (Check.POSITIONS, "positions beyond the end of their log"),
    Kind.POSITION_SET_BACK: (
        Check.POSITIONS,
        "records that were settled and are no longer behind a position: what is kept of them comes again",
    ),
    Kind.NO_OUTCOME: (Check.BOOKS, "records without an outcome"),
    Kind.TWO_OUTCOMES: (Check.BOOKS, "records with more than one outcome"),
    Kind.MISCOUNTED: (Check.BOOKS, "ledger entries whose counts are not those of their records"),
    Kind.STRANGE_VERDICT: (Check.BOOKS, "verdicts on what is no record of their entry, or on one record twice"),
    Kind.MISPLACED_ENTRY: (
        Check.BOOKS,
        "ledger entries about another stage's topic, or where no reader looks for them",
    ),
    Kind.NO_LETTER: (Check.BOOKS, "dead-lettered records without a dead letter"),
    Kind.TWO_LETTERS: (Check.BOOKS, "dead letters that stand there more than once"),
    Kind.STRANGE_LETTER: (Check.BOOKS, "dead letters of records that were not dead-lettered"),
    Kind.LOST_REDRIVE: (Check.BOOKS, "redriven letters that there never were, or whose copies are not in the log"),
    Kind.UNREADABLE: (Check.BOOKS, "records of ours that cannot be read: a newer version wrote them, or a stranger"),
    Kind.REVISION_GAP: (Check.REVISIONS, "revisions that do not follow the one before"),
    Kind.WRONG_PARTITION: (Check.REVISIONS, "users in a partition that is not theirs"),
    Kind.NO_VECTOR: (Check.REVISIONS, "changes without their vector"),
    Kind.NO_HEAD: (Check.REVISIONS, "users without a head"),
    Kind.HEAD_DEPARTS: (Check.REVISIONS, "heads that do not sum up what the changes give"),
    Kind.WATERMARK_FELL_BACK: (Check.WATERMARKS, "watermarks that fell back"),
    Kind.WATERMARK_AHEAD: (Check.WATERMARKS, "watermarks that ran ahead"),
    Kind.MISSING: (Check.STORE, "memories that the store lacks"),
    Kind.OLDER: (Check.STORE, "memories that are older in the store than in the log"),
    Kind.DIFFERENT: (Check.STORE, "memories that the log has otherwise"),
    Kind.SURPLUS: (Check.STORE, "memories that the log has not, or has erased"),
    Kind.STORE_HEAD_BEHIND: (Check.STORE, "heads that are older in the store than in the log, or not there"),
    Kind.STORE_HEAD_DEPARTS: (Check.STORE, "heads in the store that the log never had"),
    Kind.STRANGERS: (Check.STORE, "memories of users whom the log does not know"),
    Kind.VERSION_AHEAD: (Check.VERSIONS, "versions in Redis that index never announced"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it must be.

    Attributes:
        kind: what it is.
        example: where, and what exactly; never content.
        count: how many records, memories or transactions it is about.
    """

    kind: Kind
    example: str
    count: int = 1


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """All faults of one kind.

    Attributes:
        check: which law is broken.
        kind: how.
        said: the same in words.
        count: how many records, memories or transactions.
        examples: the first of them, 100 at most.
    """

    check: Check
    kind: Kind
    said: str
    count: int
    examples: list[str]


class Findings:
    """Sums up faults by kind."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._counts: dict[Kind, int] = {}
        self._examples: dict[Kind, list[str]] = {}
        self.extend(faults)

    def extend(self, faults: Iterable[Fault]) -> None:
        """Take in more."""
        for fault in faults:
            self._counts[fault.kind] = self._counts.get(fault.kind, 0) + fault.count
            examples = self._examples.setdefault(fault.kind, [])
            if len(examples) < _KEPT_EXAMPLES:
                examples.append(fault.example)

    def listed(self) -> list[Finding]:
        """In the order of the checks."""
        return [
            Finding(check=check, kind=kind, said=said, count=self._counts[kind], examples=list(self._examples[kind]))
            for kind, (check, said) in SAID.items()
            if kind in self._counts
        ]
