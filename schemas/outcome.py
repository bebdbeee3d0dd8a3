"""What became of every consumed event: outcomes, the ledger that balances them, and dead letters."""

import enum
from datetime import datetime

import msgspec


class Outcome(enum.StrEnum):
    """Exactly one of these for each consumed event."""

    APPLIED = "applied"
    FILTERED = "filtered"
    DEAD_LETTERED = "dead_lettered"


class Reason(enum.StrEnum):
    """Why an event was not applied. The one list of reasons, for filters and dead letters alike."""

    # filtered
    DUPLICATE = "duplicate"
    """Consolidate has this memory already: the event was published, or delivered, more than once."""
    REROUTED = "rerouted"
    """It stood in the wrong partition or had no key: a copy of it goes its way in the right one."""
    OTHER_LANE = "other_lane"
    """The other lane handles events of this kind."""
    STALE_MARKER = "stale_marker"
    """An idle marker whose window has moved on or closed since."""
    NOT_SUPPORTED = "not_supported"
    """This version knows the event but does not act on it yet; it stays in the log for replay."""
    ERASED = "erased"
    """Its source lies below a forget."""

    # dead-lettered
    UNDECODABLE = "undecodable"
    """The bytes are no event: not JSON or MessagePack, a wrong type, a missing field."""
    UNSUPPORTED_VERSION = "unsupported_version"
    """An event from a newer schema than this worker knows; redrive it after the upgrade."""
    OVERSIZE = "oversize"
    """Larger than the limit for one event."""
    POISON = "poison"
    """The stage failed on this event and on no other of its batch."""
    CRASH = "crash"
    """The worker's process died each time it handled this event alone."""
    UNREADABLE_WINDOW = "unreadable_window"
    """The extractor failed on the window that this event closed; the dead letter carries the window."""


LETTER_REASONS = (
    Reason.UNDECODABLE,
    Reason.UNSUPPORTED_VERSION,
    Reason.OVERSIZE,
    Reason.POISON,
    Reason.CRASH,
    Reason.UNREADABLE_WINDOW,
)
"""Those that a dead letter may have; the others are of what is filtered."""


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """One event that was not applied, as the ledger lists it."""

    offset: int
    outcome: Outcome
    reason: Reason


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, tag="ledger", tag_field="type"):
    """What became of one partition's share of a batch; commits with the batch, so a crash cannot make it wrong.

    Attributes:
        stage: who consumed.
        topic: what was consumed.
        partition: which partition.
        first_offset: of the first record in the batch.
        last_offset: of the last one. Offsets between that are no records (transaction markers) count nowhere.
        applied: how many were applied.
        filtered: how many were filtered.
        dead_lettered: how many went to the dead-letter topic.
        verdicts: every event not applied.
        decided_at: when the batch was decided.
        generation: the derived view that the stage builds; entries from before there was this field are of the first.
    """

    stage: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    applied: int
    filtered: int
    dead_lettered: int
    verdicts: list[Verdict]
    decided_at: datetime
    generation: int = 1
    v: int = 1


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, tag="dead_letter", tag_field="type"):
    """An event that a stage could not handle, whole, with where it came from and why.

    Attributes:
        stage: who could not handle it.
        topic: where it stood, with `partition` and `offset`.
        recorded_at: its Kafka timestamp.
        key: its key, raw.
        value: its value, raw and complete.
        headers: its headers, raw.
        reason: the class of the failure.
        error: the failure in words; it may quote field names and positions, never content.
        attempts: how often the stage tried.
        failed_at: when it gave up.
    """

    stage: str
    topic: str
    partition: int
    offset: int
    recorded_at: datetime
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    reason: Reason
    error: str
    attempts: int
    failed_at: datetime
    v: int = 1


class Redriven(msgspec.Struct, frozen=True, kw_only=True, tag="redriven", tag_field="type"):
    """A dead letter went back to its topic; it stands behind the letter on `memory.dlq`."""

    stage: str
    topic: str
    partition: int
    offset: int
    redriven_at: datetime
    to_partition: int
    to_offset: int
    v: int = 1


DlqRecord = DeadLetter | Redriven
