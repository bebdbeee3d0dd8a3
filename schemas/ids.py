"""Every id of the system, derived and never drawn: the same log gives the same ids on every replay.

Ids are UUIDv5 over a canonical JSON array. JSON separates and escapes its parts, so ("a", "bc") and ("ab", "c") can
never give the same id (string concatenation, as in the Weaviate client's `generate_uuid5`, can).
"""

from collections.abc import Sequence
from hashlib import sha1
from typing import NamedTuple
from uuid import UUID

import msgspec

NAMESPACE = UUID("6f1c1f0e-3c0b-5f43-9d4e-2c6a9a1f7b55")
"""Fixed for the life of the log: another namespace is another set of memories."""

_NAMESPACE_HASH = sha1(NAMESPACE.bytes, usedforsecurity=False)

DEFAULT_TENANT = "default"


class UserKey(NamedTuple):
    """Whose memory it is: the unit of order, of search and of erasure."""

    tenant: str
    user_id: str

    def __str__(self) -> str:
        """`tenant/user_id`, the key of every pipeline topic; unambiguous because a tenant has no slash."""
        return f"{self.tenant}/{self.user_id}"

    @classmethod
    def parse(cls, text: str) -> "UserKey":
        """The inverse of `str`.

        Raises:
            ValueError: there is no slash.
        """
        tenant, slash, user_id = text.partition("/")
        if not slash:
            raise ValueError(f"not a user key (tenant/user_id): {text!r}")
        return cls(tenant, user_id)


def derive(kind: str, *parts: str | int | Sequence[str] | None) -> str:
    """Return the UUIDv5 of a kind of thing and its ordered parts, as 36 characters."""
    # `uuid.uuid5` step by step, 3x as fast: every event derives several ids.
    digest = _NAMESPACE_HASH.copy()
    digest.update(msgspec.json.encode((kind, *parts)))
    raw = int.from_bytes(digest.digest()[:16], "big")
    raw = raw & ~(0xF000 << 64) & ~(0xC000 << 48) | (5 << 76) | (0x8000 << 48)
    name = f"{raw:032x}"
    return f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}"


def turn_memory_id(user: UserKey, event_id: str) -> str:
    """The memory that a turn becomes: one per published event, however often it is published."""
    return derive("turn", user.tenant, user.user_id, event_id)


def fact_memory_id(user: UserKey, statement: str, source_event_ids: Sequence[str]) -> str:
    """The memory that a fact becomes when it is first stated.

    Args:
        user: whose fact it is.
        statement: the slot and value, or the normalized text where there is no slot.
        source_event_ids: the events that say so, in log order.
    """
    return derive("fact", user.tenant, user.user_id, statement, list(source_event_ids))


def window_id(user: UserKey, conversation_id: str, event_ids: Sequence[str]) -> str:
    """A window is named by the events in it, so that a replay names it the same."""
    return derive("window", user.tenant, user.user_id, conversation_id, list(event_ids))


def change_id(memory_id: str, op: str, cause: str, forgets: int) -> str:
    """One thing that happened to one memory.

    Args:
        memory_id: the memory.
        op: what happened.
        cause: the source event or window.
        forgets: how many forgets of the user came before it: after one, the same cause may add again.
    """
    return derive("change", memory_id, op, cause, forgets)


def origin_event_id(partition: int, offset: int) -> str:
    """The stand-in for a missing event id: where the record first stood in `conversation.events`."""
    return f"{partition}-{offset}"


def idle_event_id(user: UserKey, conversation_id: str, newest_offset: int) -> str:
    """The id of an idle marker, so that two writers of the same marker write the same event."""
    return derive("idle", user.tenant, user.user_id, conversation_id, newest_offset)
