"""Stage 2 of 6, extract: windows of turns go to the extractor; what it finds becomes candidates.

Its state, the open windows, stands in `memory.windows`, written in the same transactions as everything else. Its
watermark stays below the oldest open window: only what has been extracted has passed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from schemas import headers, ids
from schemas.candidate import Candidate, Lane, Source, Watermark
from schemas.codec import CONVERSATION_EVENTS
from schemas.conversation import (
    AnyConversationEvent,
    ConversationEnded,
    Correction,
    Forget,
    Idle,
    Turn,
)
from schemas.outcome import Reason
from schemas.window import Window, WindowTurn
from streams.analysis import normalized
from streams.clock import Clock
from streams.engine.catch_up import KafkaLogReader, LogReader
from streams.engine.stage import Answers, Consumed, Decision, MicroBatch, Output, Poisoned, watermark_outputs
from streams.errors import PoisonError
from streams.extractors.factory import create_extractor
from streams.extractors.protocol import Extractor, Fact
from streams.settings import Settings
from streams.stages.intake import is_misplaced, skip_reason, take_in
from streams.stages.window_reading import Read, WindowReader
from streams.stages.windows import (
    Closed,
    Conversation,
    Cutting,
    PartitionWindows,
    WindowRule,
    conversation_of,
    newest_turn_offset,
)
from topology import graph, keys, topics

Changed = dict[int, dict[Conversation, Window | None]]
ClosedWindow = tuple[Consumed[AnyConversationEvent], Window]
"""A window, and the record that closed it."""


@dataclass
class _Waiting:
    """How long a window has been waiting for a turn, by the clock of this process."""

    newest_offset: int
    since_s: float


class Extract:
    """Windows to facts.

    Args:
        extractor: reads windows.
        reader: reads the windows topic when a partition is assigned.
        clock: says when a window has been idle for too long.
        rule: when windows close.
        partitions: of every pipeline topic.
        idle_after: see `ExtractSettings`.
        timeout: see `ExtractSettings`.
    """

    spec = graph.stage(graph.StageName.EXTRACT)
    dead_letters = True

    def __init__(
        self,
        extractor: Extractor,
        *,
        reader: LogReader,
        clock: Clock,
        rule: WindowRule,
        partitions: int,
        idle_after: timedelta,
        timeout: timedelta,
    ) -> None:
        self._windows_read = WindowReader(extractor, timeout=timeout)
        self._reader = reader
        self._clock = clock
        self._rule = rule
        self._partitions = partitions
        self._idle_after_s = idle_after.total_seconds()
        self._windows: dict[int, PartitionWindows] = {}
        self._waiting: dict[int, dict[Conversation, _Waiting]] = {}

    async def open(self) -> None:
        """Nothing to connect: the extractor connects when it is asked."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def load(self, partition: int, *, position: int) -> None:  # noqa: ARG002
        """Read the partition's windows: the newest record of each conversation counts."""
        newest: dict[bytes, Window] = {}
        async for messages in self._reader.read(topics.WINDOWS, partition):
            for message in messages:
                key: Any = message.key()
                value: Any = message.value()
                if value is None:
                    newest.pop(key, None)
                else:
                    newest[key] = topics.WINDOWS.codec.decode(value)
        self._windows[partition] = PartitionWindows(newest.values())
        now_s = self._clock.monotonic_s()
        self._waiting[partition] = {
            conversation_of(window): _Waiting(newest_turn_offset(window), now_s) for window in newest.values()
        }

    def unload(self, partition: int) -> None:
        """Forget a partition's windows; their owner reads them."""
        self._windows.pop(partition, None)
        self._waiting.pop(partition, None)

    async def decide(self, batch: MicroBatch[AnyConversationEvent]) -> Decision:
        """Cut windows; ask for what those that closed say; write that and the windows as they are now."""
        decision, closed = self._decide(batch)
        if closed:
            decision.ask = partial(self._read, closed)
        return decision

    async def give_up(self, batch: MicroBatch[AnyConversationEvent], error: Exception) -> Decision | None:
        """Give up the windows that the event closes, unread: the event itself is hardly what killed the process."""
        decision, closed = self._decide(batch)
        if not closed:
            return None
        decision.ask = partial(self._leave_unread, closed, error)
        return decision

    def _decide(self, batch: MicroBatch[AnyConversationEvent]) -> tuple[Decision, list[ClosedWindow]]:
        decision = Decision()
        cuttings = {partition: Cutting(self._windows[partition], self._rule) for partition in batch.last_offsets}
        closed: list[ClosedWindow] = []
        for record in batch.records:
            cutting = cuttings[record.partition]
            before = len(cutting.closed)
            reason = self._cut(cutting, record)
            if reason is not None:
                decision.filter(record, reason)
            closed += [(record, window) for window, _ in cutting.closed[before:]]
        for partition, cut in cuttings.items():
            decision.outputs += _state_outputs(partition, cut.changed)
        watermarks = {
            partition: [Watermark(Lane.EXTRACT, _settled_offset(cuttings[partition], last))]
            for partition, last in batch.last_offsets.items()
        }
        decision.outputs += watermark_outputs(topics.CANDIDATES, watermarks)
        decision.state = {partition: cut.changed for partition, cut in cuttings.items()}
        return decision, closed

    async def perform(self, effect: Any) -> None:
        """No effect."""

    def apply(self, state: Changed) -> None:
        """The windows as the batch left them are the windows now."""
        now_s = self._clock.monotonic_s()
        for partition, changed in state.items():
            if partition not in self._windows:
                continue  # lost while the transaction was ending
            windows, waiting = self._windows[partition], self._waiting[partition]
            windows.apply(changed)
            for conversation, window in changed.items():
                if window is None:
                    waiting.pop(conversation, None)
                else:
                    waiting[conversation] = _Waiting(newest_turn_offset(window), now_s)

    def due(self, *, at_end: frozenset[int]) -> list[Output]:
        """Idle markers for windows that have waited too long, in partitions where nothing more stands in the log."""
        now_s = self._clock.monotonic_s()
        markers: list[Output] = []
        for partition in at_end:
            for conversation, waiting in self._waiting.get(partition, {}).items():
                if now_s - waiting.since_s >= self._idle_after_s:
                    waiting.since_s = now_s  # asked again after the same time, should the marker get lost
                    markers.append(_marker(partition, conversation, waiting.newest_offset))
        return markers

    def _cut(self, cutting: Cutting, record: Consumed[AnyConversationEvent]) -> Reason | None:
        if is_misplaced(record, partitions=self._partitions):
            return Reason.REROUTED
        if (skip := skip_reason(record, lane=Lane.EXTRACT)) is not None:
            return skip
        if again := headers.get_all(record.headers, headers.WINDOW):
            cutting.closed += [(_window_again(record, raw), Closed.AGAIN) for raw in again]
            return None
        match record.event:
            case Turn() as turn:
                added = cutting.add(Conversation(turn.user, turn.conversation_id), _window_turn(record, turn))
                return None if added else Reason.DUPLICATE
            case ConversationEnded() as ended:
                cutting.close(Conversation(ended.user, ended.conversation_id), Closed.ENDED)
                return None
            case Idle() as marker:
                counts = cutting.idle(Conversation(marker.user, marker.conversation_id), marker.newest_offset)
                return None if counts else Reason.STALE_MARKER
            case Forget() | Correction():
                return Reason.NOT_SUPPORTED

    async def _read(self, closed: Sequence[ClosedWindow]) -> Answers:
        return self._answers(closed, await self._windows_read.read([window for _, window in closed]))

    async def _leave_unread(self, closed: Sequence[ClosedWindow], error: Exception) -> Answers:
        return self._answers(closed, [error for _ in closed])

    def _answers(self, closed: Sequence[ClosedWindow], found: Sequence[Read]) -> Answers:
        """Facts as candidates; a window that cannot be read goes with the dead letter of the record that closed it."""
        answers = Answers()
        unread: dict[int, tuple[Consumed[Any], Exception, list[bytes]]] = {}
        for (record, window), read in zip(closed, found, strict=True):
            if isinstance(read, Exception):
                unread.setdefault(id(record), (record, read, []))[2].append(topics.WINDOWS.codec.encode(window))
            else:
                answers.outputs += [self._candidate(record.partition, window, fact) for fact in read]
        answers.poisoned = [
            Poisoned(
                record=record,
                error=error,
                reason=Reason.UNREADABLE_WINDOW,
                headers=[(headers.WINDOW, raw) for raw in windows],
            )
            for record, error, windows in unread.values()
        ]
        return answers

    def _candidate(self, partition: int, window: Window, fact: Fact) -> Output:
        user = conversation_of(window).user
        wanted = set(fact.source_event_ids)
        sources = [turn for turn in window.turns if turn.event_id in wanted]
        newest = sources[-1]
        candidate = Candidate(
            lane=Lane.EXTRACT,
            kind="fact",
            tenant=user.tenant,
            user_id=user.user_id,
            memory_id=ids.fact_memory_id(user, fact.slot or normalized(fact.text), [t.event_id for t in sources]),
            cause=ids.window_id(user, window.conversation_id, [turn.event_id for turn in window.turns]),
            text=fact.text,
            conversation_id=window.conversation_id,
            role=newest.role,
            name=newest.name,
            source_event_ids=[turn.event_id for turn in sources],
            source=Source(sources[0].offset, newest.offset, newest.recorded_at),
            occurred_at=newest.occurred_at,
            valid_from=fact.valid_from or newest.occurred_at,
            slot=fact.slot,
            confidence_ratio=fact.confidence_ratio,
        )
        return Output(
            topic=topics.CANDIDATES,
            partition=partition,
            key=keys.user_key_bytes(user),
            value=topics.CANDIDATES.codec.encode(candidate),
        )


def _window_again(record: Consumed[AnyConversationEvent], raw: bytes) -> Window:
    """The window that a redriven dead letter carries; anyone may write headers, so it is checked whose it is."""
    window: Window = topics.WINDOWS.codec.decode(raw)
    if conversation_of(window).user != record.event.user or not window.turns:
        raise PoisonError("the window in the record's header is not one of the record's user")
    return window


def _window_turn(record: Consumed[Any], turn: Turn) -> WindowTurn:
    taken = take_in(record)
    return WindowTurn(
        event_id=taken.event_id,
        offset=taken.offset,
        role=turn.role,
        name=turn.name,
        content=turn.content,
        occurred_at=taken.occurred_at,
        recorded_at=taken.recorded_at,
    )


def _settled_offset(cutting: Cutting, last_offset: int) -> int:
    oldest_open = cutting.committed.oldest_open_offset(cutting.changed)
    return last_offset if oldest_open is None else min(last_offset, oldest_open - 1)


def _state_outputs(partition: int, changed: Mapping[Conversation, Window | None]) -> list[Output]:
    return [
        Output(
            topic=topics.WINDOWS,
            partition=partition,
            key=keys.window_key_bytes(conversation.user, conversation.conversation_id),
            value=None if window is None else topics.WINDOWS.codec.encode(window),
        )
        for conversation, window in changed.items()
    ]


def _marker(partition: int, conversation: Conversation, newest_offset: int) -> Output:
    user = conversation.user
    marker = Idle(
        tenant=user.tenant,
        user_id=user.user_id,
        conversation_id=conversation.conversation_id,
        newest_offset=newest_offset,
        event_id=ids.idle_event_id(user, conversation.conversation_id, newest_offset),
    )
    return Output(
        topic=topics.CONVERSATION_EVENTS,
        partition=partition,
        key=keys.user_key_bytes(user),
        value=CONVERSATION_EVENTS.encode(marker),
    )


def create(settings: Settings, clock: Clock, *, reader: LogReader | None = None) -> Extract:
    """The stage as the worker runs it, or with another reader of the log."""
    extract = settings.extract
    return Extract(
        create_extractor(extract),
        reader=reader
        or KafkaLogReader(settings.kafka, client_id="memstream.extract.windows", monotonic_s=clock.monotonic_s),
        clock=clock,
        rule=WindowRule(max_turns=extract.window_turns, context_turns=extract.context_turns, gap=extract.gap),
        partitions=settings.kafka.partitions,
        idle_after=extract.idle_after,
        timeout=extract.timeout,
    )
