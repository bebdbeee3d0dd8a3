"""How far every stage has come, and what became of what it consumed.

Blocking; from an event loop, use `asyncio.to_thread`. A `StatusReader` that is asked again reads only what is new.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Message

from schemas.codec import DecodeError
from schemas.outcome import LedgerEntry, Outcome, Reason
from streams.clients.dead_letters import LetterBook
from streams.clients.hanging_transactions import HangingTransaction, find_old
from streams.clients.log_scan import LogFollower, LogScan
from streams.clock import Clock
from streams.engine.raw_record import recorded_at
from streams.settings import Settings
from topology import topics
from topology.graph import GRAPH, StageSpec

_COUNTED = 200
"""Offsets per partition that are read to count what is a record: offsets number transaction markers too."""


class StageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One stage.

    Attributes:
        stage: its name.
        topic: what it reads.
        started: whether it has ever committed anything.
        members: workers that run it now.
        lag_records: records it has still to settle. Counted where few are left; otherwise the difference of offsets
            stands in for what is far behind, which counts transaction markers too.
        lag_s: the age of the oldest of them; 0 when there is none.
        applied: how many records it applied.
        filtered: how many it filtered, by reason.
        dead_lettered: how many it could not handle, by reason.
        open_dead_letters: those of them that were not redriven.
    """

    stage: str
    topic: str
    started: bool
    members: int
    lag_records: int
    lag_s: float
    applied: int
    filtered: dict[Reason, int]
    dead_lettered: dict[Reason, int]
    open_dead_letters: int

    @property
    def settled(self) -> int:
        """All records that this stage has dealt with."""
        return self.applied + sum(self.filtered.values()) + sum(self.dead_lettered.values())


class WindowStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Open windows: turns that wait for the rest of their conversation before facts are taken from them.

    Attributes:
        open: how many.
        oldest_age_s: since when the oldest one's first turn is in the log; none when no window is open.
    """

    open: int
    oldest_age_s: float | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at once.

    Attributes:
        stages: in event order.
        windows: those of extract.
        open_dead_letters: of all stages.
        hanging: transactions that have been open for longer than ours ever are, by the timestamps of their records.
            Readers of their partitions stand still; `memstream verify` makes sure of it.
        caught_up: every record that was there when we looked is settled, through all stages, no transaction is open,
            and no window opened or closed while we looked. Windows may be open.
        checked_at: when we looked.
    """

    stages: list[StageStatus]
    windows: WindowStatus
    open_dead_letters: int
    hanging: list[HangingTransaction]
    caught_up: bool
    checked_at: datetime


class StatusReader:
    """Reads the status; keep it to ask again cheaply.

    Args:
        scan: reads the log.
        clock: what time it is.
        generation: whose consumer groups to look at.
    """

    def __init__(self, scan: LogScan, clock: Clock, *, generation: int) -> None:
        self._scan = scan
        self._clock = clock
        self._generation = generation
        self._outcomes: dict[str, _Outcomes] = {spec.name: _Outcomes() for spec in GRAPH}
        self._windows: dict[bytes, datetime] = {}
        self._letters = LetterBook()
        self._followers = (
            LogFollower(self._scan, topics.LEDGER, self._take_entry),
            LogFollower(self._scan, topics.DLQ, self._letters.take),
            LogFollower(self._scan, topics.WINDOWS, self._take_window),
        )

    def read(self) -> Status:
        """The status as of now.

        Raises:
            UsageError: the topics do not exist.
            TransientError: the broker is away.
        """
        # Upstream first: a stage without lag has passed everything on to the next, which is looked at after it. Windows
        # are looked at from before to behind them: one that closes meanwhile passes facts to stages already looked at.
        windows_before = self._ends(topics.WINDOWS, with_open=True)
        positions = [self._position(spec) for spec in GRAPH]
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="status") as threads:
            hanging = threads.submit(find_old, self._scan, topics.TOPICS, self._clock)
            lags = threads.map(self._lag, GRAPH, (position.unread for position in positions))
            for done in [threads.submit(follower.catch_up) for follower in self._followers]:
                done.result()
            members = self._scan.members([self._group(spec) for spec in GRAPH])
            now = self._clock.now()
            stages = [
                self._stage(spec, position.started, members.get(self._group(spec), 0), lag, now)
                for spec, position, lag in zip(GRAPH, positions, lags, strict=True)
            ]
        moving = any(position.ending for position in positions) or self._ends(topics.WINDOWS) != windows_before
        oldest = min(self._windows.values(), default=None)
        return Status(
            stages=stages,
            windows=WindowStatus(open=len(self._windows), oldest_age_s=None if oldest is None else _age_s(oldest, now)),
            open_dead_letters=len(self._letters.open),
            hanging=hanging.result(),
            caught_up=not moving and all(stage.lag_records == 0 for stage in stages),
            checked_at=now,
        )

    def _position(self, spec: StageSpec) -> "_Position":
        bounds = self._scan.bounds(spec.reads)
        committed = self._scan.committed(self._group(spec), spec.reads, bounds)
        unread = {p: range(max(kept.start, committed.get(p, 0)), kept.stop) for p, kept in bounds.items()}
        # A position can be seen as committed milliseconds before the records of the same transaction can.
        written = self._ends(spec.reads, with_open=True)
        ending = any(written[p] > kept.stop for p, kept in bounds.items())
        return _Position(started=bool(committed), unread=unread, ending=ending)

    def _ends(self, spec: topics.TopicSpec, *, with_open: bool = False) -> dict[int, int]:
        return {p: kept.stop for p, kept in self._scan.bounds(spec, with_open=with_open).items()}

    def _lag(self, spec: StageSpec, unread: dict[int, range]) -> "_Lag":
        lag = _Lag()
        for message in self._scan.read(spec.reads, {p: wanted[:_COUNTED] for p, wanted in unread.items()}):
            lag.records += 1
            at = recorded_at(message)
            lag.oldest_at = at if lag.oldest_at is None else min(lag.oldest_at, at)
        lag.records += sum(len(wanted[_COUNTED:]) for wanted in unread.values())
        return lag

    def _group(self, spec: StageSpec) -> str:
        return spec.group_id(namespace=self._scan.settings.namespace, generation=self._generation)

    def _stage(self, spec: StageSpec, started: bool, members: int, lag: "_Lag", now: datetime) -> StageStatus:  # noqa: FBT001
        outcomes = self._outcomes[spec.name]
        return StageStatus(
            stage=spec.name,
            topic=spec.reads.name,
            started=started,
            members=members,
            lag_records=lag.records,
            lag_s=0.0 if lag.oldest_at is None else _age_s(lag.oldest_at, now),
            applied=outcomes.applied,
            filtered=dict(sorted(outcomes.filtered.items())),
            dead_lettered=dict(sorted(outcomes.dead_lettered.items())),
            open_dead_letters=sum(1 for place in self._letters.open if place.stage == spec.name),
        )

    def _take_entry(self, message: Message) -> None:
        for entry in _decoded(topics.LEDGER, message):
            self._outcomes.setdefault(entry.stage, _Outcomes()).add(entry)

    def _take_window(self, message: Message) -> None:
        key: Any = message.key()
        self._windows.pop(key, None)
        if message.value() is not None:
            for window in _decoded(topics.WINDOWS, message):
                if window.turns:
                    self._windows[key] = window.turns[0].recorded_at


class _Position(NamedTuple):
    """Where a stage stands: whether it has committed anything, what it has still to settle, what is being committed."""

    started: bool
    unread: dict[int, range]
    ending: bool


class _Lag:
    def __init__(self) -> None:
        self.records = 0
        self.oldest_at: datetime | None = None


class _Outcomes:
    """The sum of a stage's ledger entries."""

    def __init__(self) -> None:
        self.applied = 0
        self.filtered: dict[Reason, int] = {}
        self.dead_lettered: dict[Reason, int] = {}

    def add(self, entry: LedgerEntry) -> None:
        self.applied += entry.applied
        for verdict in entry.verdicts:
            counts = self.filtered if verdict.outcome is Outcome.FILTERED else self.dead_lettered
            counts[verdict.reason] = counts.get(verdict.reason, 0) + 1


def status_reader(settings: Settings, clock: Clock) -> StatusReader:
    """The reader for an installation."""
    scan = LogScan(settings.kafka, client_id="memstream.status")
    return StatusReader(scan, clock, generation=settings.worker.generation)


def _decoded(spec: topics.TopicSpec, message: Message) -> Iterator[Any]:
    """The record, or nothing when a newer version of ours wrote it: a status must not fail on that."""
    value: Any = message.value()
    try:
        yield spec.codec.decode(value)
    except DecodeError:
        return


def _age_s(since: datetime, now: datetime) -> float:
    return round(max(0.0, (now - since).total_seconds()), 3)
