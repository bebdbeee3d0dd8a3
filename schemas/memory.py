"""The consolidated record, what happens to it, and the head that sums up a user."""

import enum
from datetime import datetime
from hashlib import blake2b

import msgspec

from schemas.candidate import Kind, Watermark
from schemas.ids import UserKey


class Op(enum.StrEnum):
    """What happened to one memory."""

    ADDED = "added"
    UPDATED = "updated"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"
    REINFORCED = "reinforced"
    ERASED = "erased"


class MemoryChange(msgspec.Struct, frozen=True, kw_only=True, tag="change", tag_field="type"):
    """One change of one memory, with the whole memory after it: the public record of `memory.changes`.

    Attributes:
        change_id: derived from memory, operation and cause; the same on every replay.
        op: what happened.
        cause: the source event or window.
        generation: which derived view; order is (generation, revision).
        revision: the user's count of changes after this one; gapless per user.
        text: what is remembered; absent when erased.
        previous_text: what was remembered before, where there was something.
        slot: the single-valued attribute it is about, if any.
        occurred_at: when it was said.
        valid_from: since when it is true in the world.
        valid_to: until when it was true; none while it is.
        recorded_at: when we knew: Kafka timestamp of the newest source record.
        retracted_at: when we stopped holding it true; none while we do.
        superseded_by: the memory that took its place.
    """

    change_id: str
    op: Op
    cause: str
    generation: int
    tenant: str
    user_id: str
    revision: int
    memory_id: str
    kind: Kind
    conversation_id: str | None
    role: str | None
    name: str | None
    slot: str | None
    source_event_ids: list[str]
    occurred_at: datetime
    valid_from: datetime
    valid_to: datetime | None
    recorded_at: datetime
    retracted_at: datetime | None
    superseded_by: str | None
    text: str | msgspec.UnsetType = msgspec.UNSET
    previous_text: str | msgspec.UnsetType = msgspec.UNSET
    v: int = 1

    @property
    def user(self) -> UserKey:
        """Whose memory it is."""
        return UserKey(self.tenant, self.user_id)


ChangesRecord = MemoryChange | Watermark
"""What stands on `memory.changes`; watermarks have a `ce_type` of their own, and consumers of changes skip them."""


class Memory(msgspec.Struct, frozen=True, kw_only=True, tag="memory", tag_field="type"):
    """One memory as stores keep it and readers see it: the state after its newest change.

    The fields are those of `MemoryChange`; `revision` is that of its newest change.
    """

    tenant: str
    user_id: str
    memory_id: str
    kind: Kind
    text: str
    revision: int
    generation: int
    conversation_id: str | None
    role: str | None
    name: str | None
    slot: str | None
    source_event_ids: list[str]
    occurred_at: datetime
    valid_from: datetime
    valid_to: datetime | None
    recorded_at: datetime
    retracted_at: datetime | None
    superseded_by: str | None
    v: int = 1

    @property
    def user(self) -> UserKey:
        """Whose memory it is."""
        return UserKey(self.tenant, self.user_id)

    @classmethod
    def after(cls, change: MemoryChange) -> "Memory":
        """The memory that a change leaves behind.

        Raises:
            ValueError: the change erased it.
        """
        if change.text is msgspec.UNSET:
            raise ValueError(f"{change.op} leaves no memory: {change.memory_id}")
        return cls(
            tenant=change.tenant,
            user_id=change.user_id,
            memory_id=change.memory_id,
            kind=change.kind,
            text=change.text,
            revision=change.revision,
            generation=change.generation,
            conversation_id=change.conversation_id,
            role=change.role,
            name=change.name,
            slot=change.slot,
            source_event_ids=change.source_event_ids,
            occurred_at=change.occurred_at,
            valid_from=change.valid_from,
            valid_to=change.valid_to,
            recorded_at=change.recorded_at,
            retracted_at=change.retracted_at,
            superseded_by=change.superseded_by,
        )


class Fence(msgspec.Struct, frozen=True, array_like=True):
    """A forget that stays: nothing of this scope from below this offset comes back.

    Attributes:
        scope: `user`, `conversation` or `memory`.
        offset: of the forget in `conversation.events`.
        target: the conversation or memory; empty for the user.
    """

    scope: str
    offset: int
    target: str = ""


class Head(msgspec.Struct, frozen=True, kw_only=True, tag="head", tag_field="type"):
    """Sums up one user without content, and survives erasure.

    Attributes:
        generation: which derived view.
        revision: count of the user's changes so far.
        digest: `pair_digest` summed over the user's (memory_id, revision) pairs, modulo 2^128, 16 bytes, big endian.
            A sum, because one memory's pair can then be taken out and another put in without reading the rest.
        memories: how many memories the user has.
        forgets: how many forgets came so far; part of every change id.
        fences: the forgets that stay.
    """

    tenant: str
    user_id: str
    generation: int
    revision: int = 0
    digest: bytes = bytes(16)
    memories: int = 0
    forgets: int = 0
    fences: list[Fence] = []
    v: int = 1

    @property
    def user(self) -> UserKey:
        """Whose head it is."""
        return UserKey(self.tenant, self.user_id)


def pair_digest(memory_id: str, revision: int) -> int:
    """One (memory_id, revision) pair as a 128-bit number, for the sum in `Head.digest`."""
    return int.from_bytes(blake2b(f"{memory_id}@{revision}".encode(), digest_size=16).digest(), "big")


def digest_bytes(total: int) -> bytes:
    """A sum of pairs as it stands in `Head.digest`."""
    return (total % (1 << 128)).to_bytes(16, "big")


def replace_in_digest(digest: bytes, memory_id: str, *, old_revision: int | None, new_revision: int | None) -> bytes:
    """The digest after one memory went from one revision to another.

    Args:
        digest: before.
        memory_id: which memory.
        old_revision: none for a new memory.
        new_revision: none for an erased one.
    """
    total = int.from_bytes(digest, "big")
    if old_revision is not None:
        total -= pair_digest(memory_id, old_revision)
    if new_revision is not None:
        total += pair_digest(memory_id, new_revision)
    return digest_bytes(total)
