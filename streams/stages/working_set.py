"""What consolidate has at hand of a user: enough to decide, and no more.

Turns match by id only, so their ids suffice. Facts match by id and by normalized text, so they are kept whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.ids import UserKey
from schemas.memory import Head, Memory, MemoryChange, Op, replace_in_digest
from streams.analysis import normalized


@dataclass
class UserMemories:
    """One user's memories as of the head's revision.

    Attributes:
        head: sums them up.
        turn_ids: memory ids of the turns.
        facts: memory id to fact.
        by_text: normalized text of a fact to its memory id.
    """

    head: Head
    turn_ids: set[str] = field(default_factory=set)
    facts: dict[str, Memory] = field(default_factory=dict)
    by_text: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, head: Head, memories: Iterable[Memory]) -> "UserMemories":
        """The working set of a user whose head and memories were loaded."""
        user = cls(head)
        for memory in memories:
            user.put(memory)
        return user

    def put(self, memory: Memory) -> None:
        """Add a memory or replace it by its newer revision."""
        if memory.kind == "turn":
            self.turn_ids.add(memory.memory_id)
        else:
            self.facts[memory.memory_id] = memory
            self.by_text[normalized(memory.text)] = memory.memory_id


@dataclass
class Draft:
    """A user's memories while a batch is decided: what stands, and what the batch puts on top of it.

    Attributes:
        base: as committed; stays untouched.
        head: after the changes so far.
        added_turn_ids: new turns.
        changed_facts: new or newer facts.
    """

    base: UserMemories
    head: Head
    added_turn_ids: set[str] = field(default_factory=set)
    changed_facts: dict[str, Memory] = field(default_factory=dict)
    changed_texts: dict[str, str] = field(default_factory=dict)

    def has_turn(self, memory_id: str) -> bool:
        """Whether this turn is a memory already."""
        return memory_id in self.base.turn_ids or memory_id in self.added_turn_ids

    def fact(self, memory_id: str) -> Memory | None:
        """A fact by id."""
        return self.changed_facts.get(memory_id) or self.base.facts.get(memory_id)

    def fact_like(self, text: str) -> Memory | None:
        """A fact that says the same, by normalized text."""
        key = normalized(text)
        memory_id = self.changed_texts.get(key) or self.base.by_text.get(key)
        return self.fact(memory_id) if memory_id is not None else None

    def apply(self, change: MemoryChange) -> None:
        """Take one change in; its revision is the head's next one."""
        memory = Memory.after(change)
        before = self.fact(memory.memory_id) if change.op is not Op.ADDED else None
        self.head = Head(
            tenant=self.head.tenant,
            user_id=self.head.user_id,
            generation=self.head.generation,
            revision=change.revision,
            digest=replace_in_digest(
                self.head.digest,
                memory.memory_id,
                old_revision=before.revision if before is not None else None,
                new_revision=change.revision,
            ),
            memories=self.head.memories + (change.op is Op.ADDED),
            forgets=self.head.forgets,
            fences=self.head.fences,
        )
        if memory.kind == "turn":
            self.added_turn_ids.add(memory.memory_id)
        else:
            self.changed_facts[memory.memory_id] = memory
            self.changed_texts[normalized(memory.text)] = memory.memory_id

    def merge(self) -> UserMemories:
        """The user's memories once the batch has committed."""
        self.base.head = self.head
        self.base.turn_ids |= self.added_turn_ids
        self.base.facts |= self.changed_facts
        self.base.by_text |= self.changed_texts
        return self.base


def digest_of(memories: Iterable[Memory]) -> bytes:
    """The digest that a head of exactly these memories carries."""
    digest = bytes(16)
    for memory in memories:
        digest = replace_in_digest(digest, memory.memory_id, old_revision=None, new_revision=memory.revision)
    return digest


def matches(head: Head, stored: Head | None) -> bool:
    """Whether a store has everything that a head sums up."""
    return stored is not None and (stored.generation, stored.revision, stored.digest) == (
        head.generation,
        head.revision,
        head.digest,
    )


def fold(changes: Iterable[MemoryChange]) -> dict[UserKey, dict[str, Memory]]:
    """The memories of users as a log of changes leaves them: the reference that stores are compared with."""
    users: dict[UserKey, dict[str, Memory]] = {}
    for change in changes:
        memories = users.setdefault(change.user, {})
        if change.op is Op.ERASED:
            memories.pop(change.memory_id, None)
        else:
            memories[change.memory_id] = Memory.after(change)
    return users
