"""What became of one event, stage by stage, read from the log alone.

1. Find the event in `conversation.events`, with its copies: rerouted, redriven, published again.
2. Find what it became on every topic behind: candidates, embedded candidates, changes, notices. All stand in the
   partition of its user.
3. Ask the ledger what each stage made of each of these records.

Blocking; from an event loop, use `asyncio.to_thread`. It reads whole partitions: seconds on a long log, not a thing to
do for every event.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Message

from schemas import headers, ids
from schemas.candidate import Candidate, Embedded, Lane
from schemas.codec import DecodeError
from schemas.conversation import ConversationEvent, Turn
from schemas.ids import DEFAULT_TENANT, UserKey
from schemas.indexed import Indexed
from schemas.memory import MemoryChange
from schemas.outcome import LedgerEntry, Outcome, Reason
from streams.clients.dead_letters import LetterPlace
from streams.clients.log_scan import LogScan
from streams.clients.names import check_names
from streams.engine.raw_record import headers_of, offset_of, partition_of, recorded_at
from streams.errors import MemstreamError, UsageError
from topology import keys, topics
from topology.graph import StageName, stage
from topology.topics import TopicSpec

WAITING = "waiting"
"""The outcome of a record that its stage has not settled yet."""


class EventUnknownError(MemstreamError):
    """No such event stands in the log.

    Attributes:
        next_step: where else to look.
    """

    def __init__(self, message: str, *, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One record on the way, and what was made of it.

    Attributes:
        stage: who handled it; `publish` for the event itself.
        topic: where the record stands, with `partition` and `offset`.
        at: when it was published or settled; none while it waits.
        outcome: `published`, `applied`, `filtered`, `dead_lettered` or `waiting`.
        reason: why it was not applied.
        detail: what came out of it, in words.
    """

    stage: str
    topic: str
    partition: int
    offset: int
    at: datetime | None
    outcome: str
    reason: Reason | None = None
    detail: str = ""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The way of one event.

    Attributes:
        event_id: its id, or the place that stands in for one.
        tenant: whose it is; none when its bytes are no event.
        user_id: whose it is; none when its bytes are no event.
        type: of the event; none when its bytes are no event.
        settled: whether no stage has anything of it still to do. Its window may be open.
        hops: in event order; first all of its appearances in the log, each with what both lanes made of it.
    """

    event_id: str
    tenant: str | None
    user_id: str | None
    type: str | None
    settled: bool
    hops: list[Hop]


def trace(scan: LogScan, event_id: str, *, tenant: str | None = None, user_id: str | None = None) -> Trace:
    """Follow one event.

    Args:
        scan: reads the log.
        event_id: its id; PARTITION-OFFSET, its first place, for an event without one or for bytes that are none.
        tenant: only this tenant's; `default` when a user is named without one.
        user_id: only this user's; only that user's partition is searched then.

    Raises:
        EventUnknownError: it is not in the log.
        UsageError: several users have an event of that id, the topics do not exist, or nobody can be called so.
        TransientError: the broker is away.
    """
    check_names(tenant, user_id)
    user = UserKey(tenant or DEFAULT_TENANT, user_id) if user_id is not None else None
    appearances = list(_appearances(scan, event_id, tenant=tenant, user=user))
    users = {appearance.event.user for appearance in appearances if appearance.event is not None}
    if len(users) > 1:
        raise UsageError(
            f"{len(users)} users have an event {event_id!r}, {min(users)} among them",
            next_step="say whose with --tenant and --user",
        )
    if not appearances:
        raise EventUnknownError(
            f"no event {event_id!r} is in the log" + (f" for {user}" if user else ""),
            next_step="look at the receipt of its publish; an event without an id is named PARTITION-OFFSET",
        )
    became = _Became()
    for owner in users:
        became = _follow(scan, owner, event_id, appearances)
    hops = _judged(scan, list(_steps(appearances, became)))
    first = next((a.event for a in appearances if a.event is not None), None)
    return Trace(
        event_id=event_id,
        tenant=first.tenant if first else None,
        user_id=first.user_id if first else None,
        type=str(first.__struct_config__.tag) if first else None,
        settled=all(hop.outcome != WAITING for hop in hops),
        hops=hops,
    )


class _Place(NamedTuple):
    partition: int
    offset: int


@dataclass(frozen=True)
class _Appearance:
    """The event where it stands in `conversation.events`, or bytes that are none."""

    place: _Place
    at: datetime
    event: ConversationEvent | None
    is_copy: bool


@dataclass
class _Became:
    """What stands on the topics behind."""

    candidates: dict[_Place, Candidate] = field(default_factory=dict)
    embedded: dict[_Place, Embedded] = field(default_factory=dict)
    changes: dict[_Place, MemoryChange] = field(default_factory=dict)
    notices: dict[_Place, int] = field(default_factory=dict)
    window_is_open: bool = False


@dataclass(frozen=True)
class _Step:
    """A record that a stage consumes, before the ledger has been asked."""

    stage: StageName
    place: _Place
    detail: str = ""


def _appearances(scan: LogScan, event_id: str, *, tenant: str | None, user: UserKey | None) -> Iterator[_Appearance]:
    """Every record of the event, in log order within each partition."""
    bounds = scan.bounds(topics.CONVERSATION_EVENTS)
    wanted: Collection[int] = bounds
    if user is not None:
        wanted = {keys.partition_of(user, len(bounds))}
        if first_place := re.fullmatch(r"(\d+)-\d+", event_id):
            wanted = bounds.keys() & {*wanted, int(first_place[1])}
    for message in scan.read(topics.CONVERSATION_EVENTS, {p: bounds[p] for p in wanted}):
        place, raw_headers = _place(message), headers_of(message)
        origin = headers.origin_of(raw_headers)
        stand_in = ids.origin_event_id(*(place if origin is None else (origin.partition, origin.offset)))
        event = _decoded(topics.CONVERSATION_EVENTS, message)
        if event is None:
            if stand_in == event_id:
                yield _Appearance(place, recorded_at(message), None, origin is not None)
        elif (event.event_id or stand_in) == event_id and tenant in (None, event.tenant) and user in (None, event.user):
            yield _Appearance(place, recorded_at(message), event, origin is not None)


def _follow(scan: LogScan, user: UserKey, event_id: str, appearances: Iterable[_Appearance]) -> _Became:
    """What stands on the topics behind, in the partitions where the event stands."""
    partitions = {appearance.place.partition for appearance in appearances}
    became = _Became()
    for message in scan.read_all(topics.CANDIDATES, partitions):
        record = _decoded(topics.CANDIDATES, message)
        if isinstance(record, Candidate) and _is_about(record, user, event_id):
            became.candidates[_place(message)] = record
    for message in scan.read_all(topics.EMBEDDED, partitions):
        record = _decoded(topics.EMBEDDED, message)
        if isinstance(record, Embedded) and _is_about(record.candidate, user, event_id):
            became.embedded[_place(message)] = record
    causes = {candidate.cause for candidate in became.candidates.values()}
    memory_ids = {candidate.memory_id for candidate in became.candidates.values()}
    for message in scan.read_all(topics.CHANGES, partitions):
        record = _decoded(topics.CHANGES, message)
        if not isinstance(record, MemoryChange) or record.user != user or record.cause not in causes:
            continue
        if event_id in record.source_event_ids or record.superseded_by in memory_ids:
            became.changes[_place(message)] = record
    became.notices = _covering_notices(scan, user, became.changes)
    newest: dict[bytes, Any] = {}
    for message in scan.read_all(topics.WINDOWS, partitions):
        key: Any = message.key()
        newest[key] = _decoded(topics.WINDOWS, message) if message.value() is not None else None
    became.window_is_open = any(
        window is not None
        and (window.tenant, window.user_id) == user
        and any(turn.event_id == event_id for turn in window.turns)
        for window in newest.values()
    )
    return became


def _is_about(candidate: Candidate, user: UserKey, event_id: str) -> bool:
    return candidate.user == user and event_id in candidate.source_event_ids


def _covering_notices(scan: LogScan, user: UserKey, changes: dict[_Place, MemoryChange]) -> dict[_Place, int]:
    """For each change the first notice that the store has it: its place, and the user's revision it speaks of."""
    notices: dict[_Place, int] = {}
    missing = {(place.partition, change.revision) for place, change in changes.items()}
    for message in scan.read_all(topics.INDEXED, {partition for partition, _ in missing}):
        record = _decoded(topics.INDEXED, message)
        if not isinstance(record, Indexed):
            continue
        for indexed in record.users:
            if UserKey(indexed.tenant, indexed.user_id) == user:
                place = _place(message)
                covered = {m for m in missing if m[0] == place.partition and m[1] <= indexed.revision}
                if covered:
                    missing -= covered
                    notices[place] = indexed.revision
    return notices


def _steps(appearances: Iterable[_Appearance], became: _Became) -> "Iterator[_Step | Hop]":
    """Every record on the way and who consumes it, in event order."""
    for appearance in appearances:
        yield Hop(
            stage="publish",
            topic=topics.CONVERSATION_EVENTS.name,
            partition=appearance.place.partition,
            offset=appearance.place.offset,
            at=appearance.at,
            outcome="published",
            detail=_appearance_detail(appearance),
        )
        for name in (StageName.RECORD, StageName.EXTRACT):
            yield _Step(name, appearance.place, _lane_detail(name, appearance, became))
    for place, candidate in became.candidates.items():
        yield _Step(StageName.EMBED, place, f"{candidate.kind} candidate")
    for place, embedded in became.embedded.items():
        cause, memory_id = embedded.candidate.cause, embedded.candidate.memory_id
        made = [c for c in became.changes.values() if c.cause == cause and memory_id in (c.memory_id, c.superseded_by)]
        detail = ", ".join(f"{change.op} {change.kind} revision {change.revision}" for change in made)
        yield _Step(StageName.CONSOLIDATE, place, detail or f"{embedded.candidate.kind} candidate")
    for place, change in became.changes.items():
        yield _Step(StageName.INDEX, place, f"{change.op} {change.kind} {change.memory_id} revision {change.revision}")
    for place, revision in became.notices.items():
        yield _Step(StageName.INVALIDATE, place, f"the store has revision {revision}")


def _appearance_detail(appearance: _Appearance) -> str:
    if appearance.event is None:
        return "bytes that are no event" + (", sent back" if appearance.is_copy else "")
    name = f"{appearance.event.__struct_config__.tag} of {appearance.event.user}"
    return f"{name}, a copy" if appearance.is_copy else name


def _lane_detail(name: StageName, appearance: _Appearance, became: _Became) -> str:
    if not isinstance(appearance.event, Turn):
        return ""
    lane = Lane.RECORD if name is StageName.RECORD else Lane.EXTRACT
    found = [c for p, c in became.candidates.items() if c.lane is lane and p.partition == appearance.place.partition]
    if lane is Lane.RECORD:
        return "turn candidate" if found else ""
    if found:
        return f"facts found: {len({candidate.memory_id for candidate in found})}"
    return "waits in an open window" if became.window_is_open else "no fact found in it"


def _judged(scan: LogScan, steps: "list[_Step | Hop]") -> list[Hop]:
    """Steps with what the ledger says about them."""
    wanted: dict[tuple[str, int], list[_Step]] = {}
    for step in steps:
        if isinstance(step, _Step):
            wanted.setdefault((step.stage, step.place.partition), []).append(step)
    entries: dict[_Step, LedgerEntry] = {}
    places = {place for _, partition in wanted for place in topics.ledger_partitions(partition)}
    for message in scan.read_all(topics.LEDGER, places):
        entry = _decoded(topics.LEDGER, message)
        if isinstance(entry, LedgerEntry):
            for step in wanted.get((entry.stage, entry.partition), ()):
                if entry.first_offset <= step.place.offset <= entry.last_offset:
                    entries[step] = entry
    return [step if isinstance(step, Hop) else _hop(step, entries.get(step)) for step in steps]


def _hop(step: _Step, entry: LedgerEntry | None) -> Hop:
    topic = stage(step.stage).reads.name
    verdict = next((v for v in entry.verdicts if v.offset == step.place.offset), None) if entry else None
    outcome = WAITING if entry is None else Outcome.APPLIED if verdict is None else verdict.outcome
    detail = step.detail if outcome == Outcome.APPLIED else ""
    if outcome == Outcome.DEAD_LETTERED:
        detail = f"dead letter {LetterPlace(step.stage, topic, *step.place)}"
    return Hop(
        stage=step.stage,
        topic=topic,
        partition=step.place.partition,
        offset=step.place.offset,
        at=entry.decided_at if entry else None,
        outcome=str(outcome),
        reason=verdict.reason if verdict else None,
        detail=detail,
    )


def _decoded(spec: TopicSpec, message: Message) -> Any:
    """The record, or none when these bytes are none, or a newer version of ours wrote them."""
    value: Any = message.value()
    try:
        return spec.codec.decode(value)
    except DecodeError:
        return None


def _place(message: Message) -> _Place:
    return _Place(partition_of(message), offset_of(message))
