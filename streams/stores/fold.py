"""What the log of changes says that a store must hold, folded without content: a whole partition fits in memory.

A memory counts as a revision and a fingerprint of everything else in it. About 300 bytes a memory, whatever its text.
"""

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from schemas.codec import Codec
from schemas.ids import UserKey
from schemas.memory import Head, Memory, MemoryChange, Op, pair_digest

_RECORDS: Codec[Memory] = Codec(Memory, "msgpack")
_FINGERPRINT_BYTES = 8


class MemoryState(NamedTuple):
    """One memory without its content; two are equal when the memories are."""

    revision: int
    fingerprint: bytes


class Flaw(enum.StrEnum):
    """How a stored memory departs from the log."""

    MISSING = "missing"
    OLDER = "older"
    """An older revision than the log has."""
    DIFFERENT = "different"
    """Not what the log says of this revision, or a revision that the log does not know."""
    SURPLUS = "surplus"
    """The log does not have this memory, or has erased it."""


class Stray(NamedTuple):
    """A memory that is not as it should be.

    Attributes:
        memory_id: which one.
        flaw: how it departs.
        stored: what the store has; none where it has nothing.
    """

    memory_id: str
    flaw: Flaw
    stored: MemoryState | None


@dataclass(slots=True)
class FoldedUser:
    """One user as the changes so far leave it.

    Attributes:
        memories: memory id to state.
        erased: ids that the log has erased.
        revision: of the newest change.
        head: the newest that came along with a change; it may be older than the newest change.
        digest_sum: see `schemas.memory.Head.digest`.
    """

    memories: dict[str, MemoryState] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    revision: int = 0
    head: Head | None = None
    digest_sum: int = 0

    def take(self, change: MemoryChange, head: Head | None) -> None:
        """Take in the user's next change, and the head that came along with it."""
        before = self.memories.pop(change.memory_id, None)
        if before is not None:
            self.digest_sum -= pair_digest(change.memory_id, before.revision)
        if (after := state_after(change)) is None:
            self.erased.add(change.memory_id)
        else:
            self.memories[change.memory_id] = after
            self.erased.discard(change.memory_id)
            self.digest_sum += pair_digest(change.memory_id, after.revision)
        self.revision = change.revision
        self.head = head or self.head

    def copy(self) -> "FoldedUser":
        """The user as of now, whatever comes."""
        return dataclasses.replace(self, memories=self.memories.copy(), erased=self.erased.copy())

    @property
    def digest(self) -> bytes:
        """The digest that a head of exactly these memories carries."""
        return (self.digest_sum % (1 << 128)).to_bytes(16, "big")


def fold_into(users: dict[UserKey, FoldedUser], change: MemoryChange, head: Head | None) -> FoldedUser:
    """Take one change into the fold of a partition, and return its user."""
    user = users.get(change.user)
    if user is None:
        user = users[change.user] = FoldedUser()
    user.take(change, head)
    return user


def state_of(memory: Memory) -> MemoryState:
    """A memory without its content."""
    return MemoryState(memory.revision, blake2b(_RECORDS.encode(memory), digest_size=_FINGERPRINT_BYTES).digest())


def state_after(change: MemoryChange) -> MemoryState | None:
    """The state that a change leaves its memory in; none when it erased it."""
    return None if change.op is Op.ERASED else state_of(Memory.after(change))


def strays(expected: Mapping[str, MemoryState], stored: Iterable[Memory]) -> list[Stray]:
    """What is not as it should be in a user's stored memories; nothing when they are what the log says."""
    found = {memory.memory_id: state_of(memory) for memory in stored}
    if found == expected:
        return []
    departing = [
        Stray(memory_id, _flaw(expected.get(memory_id), state), state)
        for memory_id, state in found.items()
        if expected.get(memory_id) != state
    ]
    return departing + [Stray(name, Flaw.MISSING, None) for name in expected if name not in found]


def explained_by(stray: Stray, later: Sequence[MemoryState | None]) -> bool:
    """Whether changes that are not settled yet explain a stray: the store may have them already.

    Args:
        stray: seen in the store.
        later: the states that these changes give the memory, in log order; none where they erase it.
    """
    return stray.stored in later


def _flaw(expected: MemoryState | None, stored: MemoryState) -> Flaw:
    if expected is None:
        return Flaw.SURPLUS
    return Flaw.OLDER if stored.revision < expected.revision else Flaw.DIFFERENT
