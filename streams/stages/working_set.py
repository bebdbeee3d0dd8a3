"""What consolidate has at hand of a user: enough to decide, and no more.

Turns match by id only, so their ids suffice. Facts match by id and by normalized text, so they are kept whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.ids import UserKey
from schemas.memory import Head, Memory, MemoryChange, Op, digest_bytes, pair_digest
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
        revision: the head's, after the changes so far; so are the next two.
        memories: how many there are.
        pairs: the sum that the head's digest is made of.
        added_turn_ids: new turns.
        changed_facts: new or newer facts.
    """

    base: UserMemories
    revision: int = field(init=False)
    memories: int = field(init=False)
    pairs: int = field(init=False)
    added_turn_ids: set[str] = field(default_factory=set)
    changed_facts: dict[str, Memory] = field(default_factory=dict)
    changed_texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        head = self.base.head
        self.revision, self.memories, self.pairs = head.revision, head.memories, int.from_bytes(head.digest, "big")

    @property
    def forgets(self) -> int:
        """How many forgets came before."""
        return self.base.head.forgets

    def head(self) -> Head:
        """Sums up the user after the changes so far."""
        base = self.base.head
        return Head(
            tenant=base.tenant,
            user_id=base.user_id,
            generation=base.generation,
            revision=self.revision,
            digest=digest_bytes(self.pairs),
            memories=self.memories,
            forgets=base.forgets,
            fences=base.fences,
        )

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
        memory_id = change.memory_id
        if change.op is Op.ADDED:
            self.memories += 1
        elif (before := self.fact(memory_id)) is not None:
            self.pairs -= pair_digest(memory_id, before.revision)
        self.pairs += pair_digest(memory_id, change.revision)
        self.revision = change.revision
        if change.kind == "turn":
            self.added_turn_ids.add(memory_id)
        else:
            memory = Memory.after(change)
            self.changed_facts[memory_id] = memory
            self.changed_texts[normalized(memory.text)] = memory_id

    def merge(self) -> UserMemories:
        """The user's memories once the batch has committed."""
        self.base.head = self.head()
        self.base.turn_ids |= self.added_turn_ids
        self.base.facts |= self.changed_facts
        self.base.by_text |= self.changed_texts
        return self.base


def digest_of(memories: Iterable[Memory]) -> bytes:
    """The digest that a head of exactly these memories carries."""
    return digest_bytes(sum(pair_digest(memory.memory_id, memory.revision) for memory in memories))


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
