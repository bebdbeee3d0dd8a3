"""The store and the cache beside the fold of the changes.

A store may be ahead of index's committed position, never behind it. So what it has of a memory must be a state that the
log gives at that position or later, and nothing else; whether index is at work meanwhile makes no difference.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.ids import UserKey
from schemas.memory import Head, Memory
from streams.clients.verification.findings import Fault, Kind
from streams.clients.verification.revisions import PartitionFold
from streams.stores.fold import Flaw, Stray, explained_by, strays
from streams.stores.mending import MendingPlan

_KINDS = {
    Flaw.MISSING: Kind.MISSING,
    Flaw.OLDER: Kind.OLDER,
    Flaw.DIFFERENT: Kind.DIFFERENT,
    Flaw.SURPLUS: Kind.SURPLUS,
}


@dataclass(kw_only=True)
class Suspects:
    """Users whose store differs from the log at index's position: damaged, or merely ahead of it.

    Attributes:
        strays: memories that differ.
        heads: what the store has instead of the user's head, none where it has none.
        versions: what Redis says, where that is more than index announced.
    """

    strays: dict[UserKey, list[Stray]] = field(default_factory=dict)
    heads: dict[UserKey, Head | None] = field(default_factory=dict)
    versions: dict[UserKey, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anyone."""
        return bool(self.strays or self.heads or self.versions)

    def suspect_memories(self, fold: PartitionFold, user: UserKey, memories: Sequence[Memory]) -> None:
        """Compare a user's stored memories with the log."""
        if found := strays(fold.settled(user).memories, memories):
            self.strays[user] = found

    def suspect_heads(self, fold: PartitionFold, users: Sequence[UserKey], stored: Mapping[UserKey, Head]) -> None:
        """Compare stored heads with the newest that index has settled."""
        for user in users:
            if fold.settled(user).head != stored.get(user):
                self.heads[user] = stored.get(user)

    def suspect_versions(self, announced: Callable[[UserKey], int], versions: Mapping[UserKey, int]) -> None:
        """Compare what Redis says with what index has announced."""
        self.versions |= {user: version for user, version in versions.items() if version > announced(user)}


def check_memories(fold: PartitionFold, suspects: Suspects) -> Iterator[Fault]:
    """Memories that no change explains, not even a pending one."""
    for user, found in suspects.strays.items():
        for stray in damaged(fold, user, found):
            expected = fold.settled(user).memories.get(stray.memory_id)
            has = "nothing" if stray.stored is None else f"revision {stray.stored.revision}"
            wanted = "nothing" if expected is None else f"revision {expected.revision}"
            yield Fault(_KINDS[stray.flaw], f"{user} {stray.memory_id}: the store has {has}, the log {wanted}")


def check_heads(fold: PartitionFold, suspects: Suspects) -> Iterator[Fault]:
    """Stored heads that are older than what index has settled, or that the log never had."""
    for user, stored in suspects.heads.items():
        wanted = fold.settled(user).head
        pending = fold.pending.get(user)
        if pending is not None and stored in pending.heads:
            continue
        if stored is None or (wanted is not None and stored.revision < wanted.revision):
            if wanted is not None:
                has = "none" if stored is None else f"revision {stored.revision}"
                yield Fault(Kind.STORE_HEAD_BEHIND, f"{user}: the store has {has}, the log revision {wanted.revision}")
        else:
            has = f"revision {stored.revision} and {stored.memories} memories"
            yield Fault(Kind.STORE_HEAD_DEPARTS, f"{user}: the store has {has}, the log never had")


def check_versions(announced: Callable[[UserKey], int], suspects: Suspects) -> Iterator[Fault]:
    """Versions that index has not announced, not even since."""
    for user, version in suspects.versions.items():
        if version > announced(user):
            said = f"Redis has version {version}, index announced {announced(user)}"
            yield Fault(Kind.VERSION_AHEAD, f"{user}: {said}")


def damaged(fold: PartitionFold, user: UserKey, found: Sequence[Stray]) -> list[Stray]:
    """Those of the strays that no pending change explains."""
    return [stray for stray in found if not explained_by(stray, fold.later(user, stray.memory_id))]


def plan_for(fold: PartitionFold, suspects: Suspects) -> MendingPlan:
    """What makes the store as the log says, as of the newest change: index will not put anything older there for good.

    A memory of a revision that the log does not give is deleted before it is written, for a store may refuse to replace
    a newer revision by an older one. A head that the log never had can only be replaced if it is no newer.
    """
    plan = MendingPlan()
    for user, found in suspects.strays.items():
        for stray in damaged(fold, user, found):
            state = fold.users[user].memories.get(stray.memory_id)
            if state is not None:
                plan.rows[user, stray.memory_id] = state.revision
            if stray.stored is not None and (state is None or stray.stored.revision > state.revision):
                plan.deletions.setdefault(user, []).append(stray.memory_id)
    for user, stored in suspects.heads.items():
        wanted = fold.settled(user).head
        pending = fold.pending.get(user)
        if wanted is None or (pending is not None and stored in pending.heads):
            continue
        if stored is None or stored.revision <= wanted.revision:
            plan.heads.append(wanted)
    return plan
