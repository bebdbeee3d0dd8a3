"""How index notices that its store was wiped, or restored from an older copy, and rebuilds it from the log.

1. An older copy necessarily lacks the newest revisions. So the newest changes that index has settled are read back from
   `memory.changes`: their heads must be in the store, and so must the last few memories. Changes at or behind index's
   position are pending; a store that lags is not damaged.
2. A store that has all of them is sound, as far as this goes; that costs one short read of the log, one read of up to
   200 heads and of up to 16 memories: 25 to 85 ms a partition (SQLite, 6,000 to 8,000 changes), however long the log
   is. What else may be wrong with a store is for `memstream verify` to find.
3. Otherwise the partition is rebuilt: the changes are folded up to the position, without content, all users are
   compared, and the changes are read once more to write what is missing, memories first and heads behind them:
   about 7,000 memories a second.

Never deleted here: memories that the log does not know. Another worker may have written them a moment ago, and only
`memstream verify --repair` looks that up. What the log has erased is erased again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import structlog

from schemas import headers
from schemas.ids import UserKey
from schemas.memory import Head, MemoryChange
from streams.engine.catch_up import LogReader
from streams.engine.raw_record import headers_of
from streams.stores.fold import Flaw, FoldedUser, MemoryState, Stray, fold_into, state_after, strays
from streams.stores.mending import Mender, MendingPlan, stored_heads
from streams.stores.protocol import Store
from topology import topics

log = structlog.get_logger("memstream.index")

_TAIL_OFFSETS = 1_000
_TAIL_GROWTH = 8
"""A tail that holds watermarks only is read again, that much longer."""
_PROBED_HEADS = 200
_PROBED_MEMORIES = 16
_READS_AT_ONCE = 16

ChangeRecord = tuple[MemoryChange, Any]
"""A change and its record's headers."""


class StoreCheck:
    """Compares a store with what index has already settled, and mends it.

    Args:
        store: index's own.
        reader: reads changes.
    """

    def __init__(self, store: Store, *, reader: LogReader) -> None:
        self._store = store
        self._reader = reader

    async def ensure(self, partition: int, *, position: int) -> None:
        """Return once the store has what index has settled of a partition.

        Args:
            partition: of `memory.changes`.
            position: everything before it has been settled.

        Raises:
            TransientError: the store or the broker is away.
        """
        tail = await self._tail(partition, position)
        heads, memories = newest_heads(tail), newest_memories(tail)
        stored = await stored_heads(self._store, list(heads))
        behind = users_behind(heads.values(), stored)
        lacking = await self._lacking(memories, stored, heads)
        if behind or lacking:
            log.warning(
                "store_lacks_what_it_had",
                partition=partition,
                position=position,
                users_asked=len(heads),
                users_behind=len(behind),
                memories_asked=len(memories),
                memories_lacking=lacking,
            )
            await self._rebuild(partition, position)

    async def _tail(self, partition: int, position: int) -> list[ChangeRecord]:
        """The newest settled changes; more than the last thousand offsets only where those hold no change."""
        span = _TAIL_OFFSETS
        while True:
            start = max(0, position - span)
            found = [change async for change in self._changes(partition, start, position)]
            if found or start == 0:
                return found
            span *= _TAIL_GROWTH

    async def _lacking(
        self,
        memories: dict[tuple[UserKey, str], MemoryState],
        stored: Mapping[UserKey, Head],
        heads: Mapping[UserKey, Head],
    ) -> int:
        """How many of these memories the store has not, or older; a user whose store is ahead is not asked about."""
        lacking = 0
        for (user, memory_id), state in memories.items():
            if user in heads and user in stored and stored[user].revision > heads[user].revision:
                continue
            found = await self._store.get(user, [memory_id])
            lacking += not found or found[0].revision < state.revision
        return lacking

    async def _rebuild(self, partition: int, position: int) -> None:
        users: dict[UserKey, FoldedUser] = {}
        async for change, record_headers in self._changes(partition, 0, position):
            fold_into(users, change, head_of(record_headers))
        stored = await stored_heads(self._store, list(users))
        found = await self._strays(users)
        plan = plan_for(users, found, stored)
        mender = Mender(self._store, plan)
        await mender.begin()
        async for change, record_headers in self._changes(partition, 0, position):
            await mender.take(change, record_headers)
        await mender.finish()
        log.info(
            "store_rebuilt",
            partition=partition,
            position=position,
            users=len(users),
            memories_written=mender.written,
            memories_erased=mender.deleted,
            heads_written=mender.heads,
        )

    async def _strays(self, users: dict[UserKey, FoldedUser]) -> dict[UserKey, list[Stray]]:
        gate = asyncio.Semaphore(_READS_AT_ONCE)

        async def compare(user: UserKey, folded: FoldedUser) -> tuple[UserKey, list[Stray]]:
            async with gate:
                return user, strays(folded.memories, await self._store.memories(user))

        compared = await asyncio.gather(*(compare(user, folded) for user, folded in users.items()))
        return {user: found for user, found in compared if found}

    async def _changes(self, partition: int, start: int, stop: int) -> AsyncIterator[ChangeRecord]:
        async for messages in self._reader.read(topics.CHANGES, partition, start=start, stop=stop):
            for message in messages:
                value: Any = message.value()
                event = topics.CHANGES.codec.decode(value)
                if isinstance(event, MemoryChange):
                    yield event, headers_of(message)


def newest_heads(tail: Sequence[ChangeRecord]) -> dict[UserKey, Head]:
    """The newest head of each of the users who changed last."""
    heads: dict[UserKey, Head] = {}
    for change, record_headers in reversed(tail):
        if change.user not in heads and (head := head_of(record_headers)) is not None:
            heads[change.user] = head
            if len(heads) == _PROBED_HEADS:
                break
    return heads


def newest_memories(tail: Sequence[ChangeRecord]) -> dict[tuple[UserKey, str], MemoryState]:
    """The memories that changed last, as they were left; erased ones are passed over."""
    newest: dict[tuple[UserKey, str], MemoryState | None] = {}
    for change, _ in reversed(tail):
        if (change.user, change.memory_id) not in newest:
            newest[change.user, change.memory_id] = state_after(change)
            if len(newest) == _PROBED_MEMORIES:
                break
    return {name: state for name, state in newest.items() if state is not None}


def users_behind(heads: Iterable[Head], stored: Mapping[UserKey, Head]) -> list[UserKey]:
    """Users whose stored head is older than one that index has settled, or gone."""
    return [head.user for head in heads if head.user not in stored or stored[head.user].revision < head.revision]


def plan_for(
    users: dict[UserKey, FoldedUser], found: dict[UserKey, list[Stray]], stored: Mapping[UserKey, Head]
) -> MendingPlan:
    """What to write so that the store has everything that was settled; see the module for what is never deleted."""
    plan = MendingPlan()
    for user, user_strays in found.items():
        folded = users[user]
        for stray in user_strays:
            state = folded.memories.get(stray.memory_id)
            if state is not None and (stray.stored is None or stray.stored.revision <= state.revision):
                plan.rows[user, stray.memory_id] = state.revision
            elif stray.flaw is Flaw.SURPLUS and stray.memory_id in folded.erased:
                plan.deletions.setdefault(user, []).append(stray.memory_id)
    wanted = [folded.head for folded in users.values() if folded.head is not None]
    behind = set(users_behind(wanted, stored))
    plan.heads = [head for head in wanted if head.user in behind]
    return plan


def head_of(record_headers: Any) -> Head | None:
    """The head that came along with a change, if any."""
    raw = headers.get(record_headers, headers.HEAD)
    return None if raw is None else topics.HEADS.codec.decode(raw)
