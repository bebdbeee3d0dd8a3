"""How conversations are cut into windows: a function of the log alone. Pure.

A window closes by count, by `conversation_ended`, by a gap in event time, or by an idle marker. What the clock wants is
said through the log as a marker, so a replay cuts the same windows.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from schemas.ids import UserKey
from schemas.window import Window, WindowTurn


class Closed(enum.StrEnum):
    """What closed a window."""

    COUNT = "count"
    ENDED = "ended"
    GAP = "gap"
    IDLE = "idle"
    AGAIN = "again"
    """It had closed before and could not be read; its dead letter was sent back."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Which conversation of which user."""

    user: UserKey
    conversation_id: str


@dataclass(frozen=True, kw_only=True)
class WindowRule:
    """When windows close.

    Attributes:
        max_turns: by count.
        context_turns: so many turns stay behind a window that closed by count, to be read with the next one.
        gap: by a pause between two turns, in event time.
    """

    max_turns: int
    context_turns: int
    gap: timedelta


class PartitionWindows:
    """The windows of one partition, as committed."""

    def __init__(self, windows: Iterable[Window] = ()) -> None:
        self._windows: dict[Conversation, Window] = {}
        self._open: dict[Conversation, int] = {}
        with_turns = sorted((w for w in windows if w.turns), key=lambda w: w.turns[0].offset)
        for window in [*with_turns, *(w for w in windows if not w.turns)]:
            self.put(conversation_of(window), window)

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[tuple[Conversation, Window]]:
        return iter(self._windows.items())

    def get(self, conversation: Conversation) -> Window | None:
        """The window of a conversation, which may hold context only."""
        return self._windows.get(conversation)

    def apply(self, changed: Mapping[Conversation, Window | None]) -> None:
        """Take in what a batch left behind.

        In the order in which windows opened, which is not the order in which conversations were touched: one that was
        touched early may have closed and opened again late.
        """
        for conversation, window in sorted(changed.items(), key=lambda item: _first_offset(item[1])):
            self.put(conversation, window)

    def put(self, conversation: Conversation, window: Window | None) -> None:
        """Replace or drop a conversation's window."""
        if window is None:
            self._windows.pop(conversation, None)
            self._open.pop(conversation, None)
            return
        self._windows[conversation] = window
        first = window.turns[0].offset if window.turns else None
        if self._open.get(conversation) != first:
            self._open.pop(conversation, None)
            if first is not None:
                self._open[conversation] = first

    def oldest_open_offset(self, changed: Mapping[Conversation, Window | None]) -> int | None:
        """The first offset of the oldest open window, as it will be with some windows changed."""
        # Windows open in log order, so the first one that is left as it is is the oldest of those.
        kept = next((first for conversation, first in self._open.items() if conversation not in changed), None)
        candidates = [window.turns[0].offset for window in changed.values() if window is not None and window.turns]
        if kept is not None:
            candidates.append(kept)
        return min(candidates, default=None)


@dataclass
class Cutting:
    """Windows as they change while a batch is decided; the committed ones stay untouched.

    Attributes:
        committed: what stands.
        changed: conversation to its window after the batch, none when nothing of it is kept.
        closed: windows to extract from, in the order they closed.
    """

    committed: PartitionWindows
    rule: WindowRule
    changed: dict[Conversation, Window | None] = field(default_factory=dict)
    closed: list[tuple[Window, Closed]] = field(default_factory=list)

    def window(self, conversation: Conversation) -> Window | None:
        """The window of a conversation as it is now."""
        return self.changed[conversation] if conversation in self.changed else self.committed.get(conversation)

    def add(self, conversation: Conversation, turn: WindowTurn) -> bool:
        """Take in a turn; false when the conversation's window or context has it already."""
        window = self.window(conversation)
        if window is not None:
            known = [*window.context, *window.turns]
            if any(turn.event_id == other.event_id for other in known):
                return False
            if known and turn.occurred_at - known[-1].occurred_at > self.rule.gap:
                self.close(conversation, Closed.GAP)
                window = None
        turns = [*(window.turns if window else ()), turn]
        context = window.context if window else []
        self.changed[conversation] = Window(
            tenant=conversation.user.tenant,
            user_id=conversation.user.user_id,
            conversation_id=conversation.conversation_id,
            turns=turns,
            context=context,
        )
        if len(turns) >= self.rule.max_turns:
            self.close(conversation, Closed.COUNT)
        return True

    def close(self, conversation: Conversation, why: Closed) -> bool:
        """Close a conversation's window; false when there is nothing of it."""
        window = self.window(conversation)
        if window is None:
            return False
        if window.turns:
            self.closed.append((window, why))
        keep = self.rule.context_turns if why is Closed.COUNT else 0
        context = [*window.context, *window.turns][-keep:] if keep else []
        self.changed[conversation] = (
            Window(
                tenant=window.tenant,
                user_id=window.user_id,
                conversation_id=window.conversation_id,
                turns=[],
                context=context,
            )
            if context
            else None
        )
        return True

    def idle(self, conversation: Conversation, newest_offset: int) -> bool:
        """Close by a marker; false when the marker is stale: the window has moved on, or is gone."""
        window = self.window(conversation)
        if window is None or newest_turn_offset(window) != newest_offset:
            return False
        return self.close(conversation, Closed.IDLE)


def _first_offset(window: Window | None) -> int:
    return window.turns[0].offset if window is not None and window.turns else -1


def conversation_of(window: Window) -> Conversation:
    """Which conversation a window belongs to."""
    return Conversation(UserKey(window.tenant, window.user_id), window.conversation_id)


def newest_turn_offset(window: Window) -> int:
    """Where its newest turn stands; a window without turns has context, and that counts."""
    return (window.turns or window.context)[-1].offset
