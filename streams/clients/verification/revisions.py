"""Revisions and heads of one partition: gapless, and heads sum up what the changes give.

The changes are folded along the way (`PartitionFold`), for the store is compared with that fold next.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from schemas.ids import UserKey
from schemas.memory import Head, MemoryChange, Op
from streams.clients.verification.findings import Fault, Kind
from streams.stores.fold import FoldedUser, MemoryState, fold_into, state_after
from topology import keys, topics


@dataclass
class Pending:
    """A user with changes that index has not settled yet; the store may have any of them.

    Attributes:
        before: the user at index's position.
        later: memory id to its states since, in log order; none where it was erased.
        heads: the heads since.
    """

    before: FoldedUser
    later: dict[str, list[MemoryState | None]] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)


class PartitionFold:
    """What the changes of a partition give, at index's position and behind it.

    Args:
        position: index's committed offset: what lies before it must be in the store, what lies behind it may be.

    Attributes:
        users: as of the newest change.
        pending: those of them who have changed since the position.
        changes: how many changes there were.
        pending_changes: how many of them lie behind the position.
        erasures: how many of those erase something.
    """

    def __init__(self, *, position: int) -> None:
        self._position = position
        self.users: dict[UserKey, FoldedUser] = {}
        self.pending: dict[UserKey, Pending] = {}
        self.changes = 0
        self.pending_changes = 0
        self.erasures = 0

    def take(self, offset: int, change: MemoryChange, head: Head | None) -> FoldedUser:
        """Take in the next change, and return its user."""
        self.changes += 1
        if offset >= self._position:
            pending = self.pending.get(change.user)
            if pending is None:
                known = self.users.get(change.user)
                pending = self.pending[change.user] = Pending(FoldedUser() if known is None else known.copy())
            self.pending_changes += 1
            pending.later.setdefault(change.memory_id, []).append(state_after(change))
            if head is not None:
                pending.heads.append(head)
            self.erasures += change.op is Op.ERASED
        return fold_into(self.users, change, head)

    def settled(self, user: UserKey) -> FoldedUser:
        """A user at index's position."""
        pending = self.pending.get(user)
        return self.users[user] if pending is None else pending.before

    def later(self, user: UserKey, memory_id: str) -> list[MemoryState | None]:
        """The states that pending changes give a memory."""
        pending = self.pending.get(user)
        return [] if pending is None else pending.later.get(memory_id, [])


class RevisionCheck:
    """Judges the changes of a partition one by one, while they are folded.

    Args:
        partition: which one.
        partitions: how many there are.
        heads: of the partition's users, read before the changes were.
        heads_know: changes before this offset were committed before the heads were read; those behind it may be newer
            than the head of their user.
    """

    def __init__(self, *, partition: int, partitions: int, heads: Mapping[UserKey, Head], heads_know: int) -> None:
        self._partition = partition
        self._partitions = partitions
        self._heads = heads
        self._heads_know = heads_know
        self._known_revisions: dict[UserKey, int] = {}
        self._agreeing: set[UserKey] = set()

    def judge(
        self, offset: int, change: MemoryChange, *, head: Head | None, has_vector: bool, before: int, after: FoldedUser
    ) -> Iterator[Fault]:
        """Judge one change.

        Args:
            offset: where it stands.
            change: the record.
            head: that came along with it.
            has_vector: whether a vector came along with it.
            before: the user's revision before.
            after: the user after it.
        """
        user, place = change.user, f"{topics.CHANGES.name} {self._partition}/{offset}"
        if change.revision != before + 1:
            said = f"{user} has revision {change.revision} where {before + 1} comes next"
            yield Fault(Kind.REVISION_GAP, f"{place}: {said}")
        if before == 0 and keys.partition_of(user, self._partitions) != self._partition:
            yield Fault(Kind.WRONG_PARTITION, f"{place}: {user}")
        if not has_vector and change.op is not Op.ERASED:
            yield Fault(Kind.NO_VECTOR, f"{place}: {user} revision {change.revision}")
        if head is not None and (said := _departs(head, after)):
            yield Fault(Kind.HEAD_DEPARTS, f"{place}: {said}")
        if offset < self._heads_know:
            self._known_revisions[user] = change.revision
        known = self._heads.get(user)
        if known is not None and known.revision == change.revision:
            self._agreeing.add(user)
            if said := _departs(known, after):
                yield Fault(Kind.HEAD_DEPARTS, f"{topics.HEADS.name} {self._partition}: {said}")

    def finish(self) -> Iterator[Fault]:
        """Judge what only shows when all changes are read."""
        for user, revision in self._known_revisions.items():
            head = self._heads.get(user)
            if head is None:
                yield Fault(Kind.NO_HEAD, f"{user} at revision {revision}")
            elif head.revision < revision and user in self._agreeing:
                said = f"{user}: the head says revision {head.revision}, the changes go to {revision}"
                yield Fault(Kind.HEAD_DEPARTS, f"{topics.HEADS.name} {self._partition}: {said}")
        for user, head in self._heads.items():
            if user not in self._agreeing:
                said = f"{user}: the head says revision {head.revision}, and no change leads there"
                yield Fault(Kind.HEAD_DEPARTS, f"{topics.HEADS.name} {self._partition}: {said}")


def _departs(head: Head, user: FoldedUser) -> str:
    """How a head departs from the fold; empty when it does not."""
    name = head.user
    if head.revision != user.revision:
        return f"{name}: the head says revision {head.revision}, the changes {user.revision}"
    if head.memories != len(user.memories):
        return f"{name}: the head says {head.memories} memories, the changes give {len(user.memories)}"
    return "" if head.digest == user.digest else f"{name}: another digest at revision {head.revision}"
