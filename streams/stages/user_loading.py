"""How consolidate gets at a user's memories: the catch-up gate and what follows from it.

1. When a partition is assigned, read its committed heads: they say how far every user really is.
2. A user without a head is new. A user whose head the store matches is loaded from the store.
3. A user whose store lags, or is away, waits for it, and past a deadline is rebuilt from `memory.changes`.
4. What was loaded must give the head's digest; a store that lies is not believed, the log is.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog

from schemas.ids import UserKey
from schemas.memory import Head, Memory, MemoryChange
from streams.clock import Clock
from streams.engine.catch_up import LogReader
from streams.errors import BugError, TransientError
from streams.stages.working_set import UserMemories, digest_of, fold, matches
from streams.stores.protocol import Store
from topology import topics

log = structlog.get_logger("memstream.consolidate")

_ASK_EVERY_S = 0.05
_LOADS_AT_ONCE = 16


class UserLoader:
    """Loads users from the store, or from the log where the store lags.

    Args:
        store: where index keeps memories and heads.
        reader: reads heads and changes.
        clock: for the deadline.
        load_deadline: how long a lagging store is waited for.
    """

    def __init__(self, store: Store, *, reader: LogReader, clock: Clock, load_deadline: timedelta) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock
        self._load_deadline_s = load_deadline.total_seconds()

    async def heads(self, partition: int) -> dict[UserKey, Head]:
        """The committed heads of a partition, as of now."""
        heads: dict[UserKey, Head] = {}
        async for messages in self._reader.read(topics.HEADS, partition):
            for message in messages:
                value: Any = message.value()
                if value is not None:
                    head = topics.HEADS.codec.decode(value)
                    heads[head.user] = head
        return heads

    async def load(self, partition: int, heads: Sequence[Head]) -> list[UserMemories]:
        """The memories of users, exactly as their heads say.

        Raises:
            TransientError: the store or the broker is away.
            BugError: neither store nor log gives what a head says.
        """
        loaded: dict[UserKey, UserMemories] = {}
        waiting = {head.user: head for head in heads}
        deadline_s = self._clock.monotonic_s() + self._load_deadline_s
        while waiting:
            stored = await self._stored_heads(list(waiting))
            ready = [head for user, head in waiting.items() if matches(head, stored.get(user))]
            believed, lies = await self._from_store(ready, deadline_s=deadline_s)
            for user in believed:
                loaded[user.head.user] = user
                del waiting[user.head.user]
            if waiting and (lies or self._clock.monotonic_s() >= deadline_s):
                for user in await self._from_log(partition, list(waiting.values())):
                    loaded[user.head.user] = user
                break
            if waiting:
                await asyncio.sleep(_ASK_EVERY_S)
        return [loaded[head.user] for head in heads]

    async def indexed(self, heads: Sequence[Head]) -> list[UserKey]:
        """Those of the users that the store has completely: they may leave the working set."""
        stored = await self._store.heads([head.user for head in heads])
        return [head.user for head in heads if matches(head, stored.get(head.user))]

    async def _stored_heads(self, users: Sequence[UserKey]) -> dict[UserKey, Head]:
        try:
            return await self._store.heads(users)
        except TransientError as error:
            # The log can say it too: a store that is away costs the deadline, not the stage.
            log.warning("store_away_while_loading", error=str(error))
            return {}

    async def _from_store(self, heads: Sequence[Head], *, deadline_s: float) -> tuple[list[UserMemories], bool]:
        """Those of the users that the store gives as their heads say, and whether it gave another otherwise.

        A store that fails once is asked nothing more in this round, and none is asked past the deadline: each call may
        last as long as its timeout, and the log can say it too.
        """
        gate = asyncio.Semaphore(_LOADS_AT_ONCE)
        away = lies = False

        async def load(head: Head) -> UserMemories | None:
            nonlocal away, lies
            async with gate:
                if away or self._clock.monotonic_s() > deadline_s:
                    return None
                try:
                    memories = await self._store.memories(head.user)
                except TransientError as error:
                    log.warning("store_away_while_loading", error=str(error))
                    away = True
                    return None
            if _agrees(head, memories):
                return UserMemories.of(head, memories)
            lies = True
            return None

        return [user for user in await asyncio.gather(*map(load, heads)) if user is not None], lies

    async def _from_log(self, partition: int, heads: Sequence[Head]) -> list[UserMemories]:
        log.warning("rebuilding_users_from_the_log", partition=partition, users=len(heads))
        users = {head.user for head in heads}
        changes: list[MemoryChange] = []
        async for messages in self._reader.read(topics.CHANGES, partition):
            for message in messages:
                value: Any = message.value()
                event = topics.CHANGES.codec.decode(value)
                if isinstance(event, MemoryChange) and event.user in users:
                    changes.append(event)
        folded = fold(changes)
        rebuilt = []
        for head in heads:
            memories = list(folded.get(head.user, {}).values())
            if not _agrees(head, memories):
                raise BugError(
                    f"partition {partition}: the log of changes does not give a user's head, revision {head.revision}"
                )
            rebuilt.append(UserMemories.of(head, memories))
        return rebuilt


def _agrees(head: Head, memories: Sequence[Memory]) -> bool:
    return len(memories) == head.memories and digest_of(memories) == head.digest
