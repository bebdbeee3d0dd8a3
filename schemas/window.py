"""Open windows: the state of extract, kept in the compacted topic `memory.windows`."""

from datetime import datetime

import msgspec


class WindowTurn(msgspec.Struct, frozen=True, array_like=True):
    """One turn in a window.

    Attributes:
        event_id: of the turn.
        offset: its place in `conversation.events` (that of its origin when it was rerouted or redriven).
        role: who spoke.
        name: who spoke, by name.
        content: what was said.
        occurred_at: when it was said.
        recorded_at: its Kafka timestamp.
    """

    event_id: str
    offset: int
    role: str
    name: str | None
    content: str
    occurred_at: datetime
    recorded_at: datetime


class Window(msgspec.Struct, frozen=True, kw_only=True, tag="window", tag_field="type"):
    """The turns of one conversation that an extractor reads together.

    Attributes:
        turns: in log order; empty when only context is kept.
        context: earlier turns, already extracted, oldest first, to be read but not extracted from.
    """

    tenant: str
    user_id: str
    conversation_id: str
    turns: list[WindowTurn]
    context: list[WindowTurn]
    v: int = 1
