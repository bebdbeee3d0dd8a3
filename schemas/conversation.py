"""Conversation events: what publishers send to `conversation.events`, as JSON, with any Kafka client.

`tenant`, `event_id` and `occurred_at` may be left out (the tenant is then `default`, and the record's offset and
timestamp stand in). Unknown fields are kept in the log and ignored here.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from schemas.ids import DEFAULT_TENANT, UserKey

_IN_A_TENANT = r"^[^/\x00-\x1f]+$(?!\n)"
_IN_A_USER_ID = r"^[^\x00]+$"
# What they say is checked by hand: msgspec would run Python's `re` for each of the two, half of what decoding takes.
Tenant = Annotated[str, msgspec.Meta(min_length=1, max_length=128, extra_json_schema={"pattern": _IN_A_TENANT})]
"""No slash: it separates tenant and user in every key. (A bare `$` would let one newline through at the end.)"""
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=512, extra_json_schema={"pattern": _IN_A_USER_ID})]
"""No zero byte: it separates user and conversation in the keys of windows."""
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Role = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Name = Annotated[str, msgspec.Meta(max_length=256)]


class ConversationEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every conversation event has.

    Types are checked when an event is read or published, not when one is made, as with every struct of msgspec.

    Attributes:
        user_id: whose memory this feeds.
        tenant: the customer the user belongs to.
        event_id: names the event for ever; publishing it again changes nothing. Without it, the record's place does.
        occurred_at: when it happened in the world. Without it, the record's timestamp. Times become
            UTC; naive ones are taken as such. One that is no time in UTC (year 1 east of Greenwich) is refused.
        v: schema version of the body; see `schemas.evolution`.
    """

    user_id: UserId
    tenant: Tenant = DEFAULT_TENANT
    event_id: Id | None = None
    occurred_at: datetime | None = None
    v: int = 1

    @property
    def user(self) -> UserKey:
        """Whose event it is."""
        return UserKey(self.tenant, self.user_id)

    def __post_init__(self) -> None:
        try:
            if "\x00" in self.user_id:
                raise ValueError("user_id holds a zero byte")
            tenant = self.tenant
            if "/" in tenant or not (tenant.isprintable() or re.match(_IN_A_TENANT, tenant)):
                raise ValueError("tenant holds a slash or a control character")
            occurred_at = self.occurred_at
            if occurred_at is None or occurred_at.tzinfo is UTC:
                return
        except (AttributeError, TypeError):
            return  # a field of a wrong type: whoever publishes the event is told
        # MessagePack, and with it every later stage, knows times in UTC only: what cannot be one must fail here.
        try:
            in_utc = occurred_at.replace(tzinfo=UTC) if occurred_at.tzinfo is None else occurred_at.astimezone(UTC)
        except OverflowError:
            raise ValueError("occurred_at lies outside the years 1 to 9999 in UTC") from None
        msgspec.structs.force_setattr(self, "occurred_at", in_utc)


class Turn(ConversationEvent, frozen=True, kw_only=True, tag="turn"):
    """One message of a conversation.

    Attributes:
        conversation_id: turns of one conversation are read together.
        role: `user`, `assistant`, `system`, `tool` or the publisher's own word; only people's roles state facts.
        content: what was said.
        name: who said it, where a role has several speakers.
    """

    conversation_id: Id
    role: Role
    content: str
    name: Name | None = None


class ConversationEnded(ConversationEvent, frozen=True, kw_only=True, tag="conversation_ended"):
    """No more turns will come: the conversation's window closes now."""

    conversation_id: Id


class Forget(ConversationEvent, frozen=True, kw_only=True, tag="forget"):
    """Erase what came before this event, within its scope."""

    scope: Literal["user", "conversation", "memory"]
    conversation_id: Id | None = None
    memory_id: Id | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scope == "conversation" and self.conversation_id is None:
            raise ValueError("forget with scope conversation needs conversation_id")
        if self.scope == "memory" and self.memory_id is None:
            raise ValueError("forget with scope memory needs memory_id")


class Correction(ConversationEvent, frozen=True, kw_only=True, tag="correction"):
    """A person says what is right about one memory."""

    memory_id: Id
    content: str


class Idle(ConversationEvent, frozen=True, kw_only=True, tag="idle"):
    """Internal: extract's clock says that a conversation has paused. The clock speaks through the log.

    Attributes:
        conversation_id: the paused conversation.
        newest_offset: the newest turn of its open window; the marker counts only while that is still the newest.
    """

    conversation_id: Id
    newest_offset: int


AnyConversationEvent = Turn | ConversationEnded | Forget | Correction | Idle
