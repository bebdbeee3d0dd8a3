"""Changes on their way into a store: as rows, and as the mending of what a store lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas import headers
from schemas.headers import RawHeaders
from schemas.ids import UserKey
from schemas.memory import Head, Memory, MemoryChange
from streams.analysis import document_tokens
from streams.stores.protocol import Store, StoreRow

_ROWS_AT_ONCE = 500


def row_of(change: MemoryChange, record_headers: RawHeaders | None) -> StoreRow | None:
    """The row that a change leaves behind; none when its record has no vector."""
    raw = headers.get(record_headers, headers.VECTOR)
    if raw is None:
        return None
    vector: NDArray[np.float32] = np.frombuffer(raw, dtype="<f2").astype(np.float32)
    memory = Memory.after(change)
    return StoreRow(memory=memory, tokens=document_tokens(memory), vector=vector)


@dataclass(kw_only=True)
class MendingPlan:
    """What has to be written so that a store is as the log says.

    Attributes:
        rows: memories to write, each as of this revision.
        deletions: memories to delete, before any is written: a store that refuses older revisions takes the log's only
            once its own is gone.
        heads: written last, for they speak of memories that are there.
    """

    rows: dict[tuple[UserKey, str], int] = field(default_factory=dict)
    deletions: dict[UserKey, list[str]] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.rows or self.deletions or self.heads)


class Mender:
    """Carries out a plan while the changes that it needs are read from the log once more.

    Call `begin`, then `take` with every change of the partition, then `finish`. It keeps no more than 500
    rows, and all of it may be repeated.

    Args:
        store: to be mended.
        plan: what to write.

    Attributes:
        written: how many memories were written.
        deleted: how many were deleted.
        heads: how many heads were put.
    """

    def __init__(self, store: Store, plan: MendingPlan) -> None:
        self._store = store
        self._plan = plan
        self._rows: list[StoreRow] = []
        self.written = 0
        self.deleted = 0
        self.heads = 0

    async def begin(self) -> None:
        """Delete what has to go."""
        for user, memory_ids in self._plan.deletions.items():
            await self._store.delete(user, memory_ids)
            self.deleted += len(memory_ids)

    async def take(self, change: MemoryChange, record_headers: RawHeaders | None) -> None:
        """Write the memory that this change leaves, if the plan asks for it."""
        if self._plan.rows.get((change.user, change.memory_id)) != change.revision:
            return
        row = row_of(change, record_headers)
        if row is not None:
            self._rows.append(row)
        if len(self._rows) >= _ROWS_AT_ONCE:
            await self._write()

    async def finish(self) -> None:
        """Write the rest and, behind it, the heads."""
        await self._write()
        for start in range(0, len(self._plan.heads), _ROWS_AT_ONCE):
            await self._store.rewrite((), heads=self._plan.heads[start : start + _ROWS_AT_ONCE])
        self.heads = len(self._plan.heads)

    async def _write(self) -> None:
        if self._rows:
            await self._store.rewrite(self._rows)
            self.written += len(self._rows)
            self._rows = []


async def stored_heads(store: Store, users: Sequence[UserKey]) -> Mapping[UserKey, Head]:
    """The heads of many users, asked for in bounded portions."""
    found: dict[UserKey, Head] = {}
    for start in range(0, len(users), _ROWS_AT_ONCE):
        found |= await store.heads(users[start : start + _ROWS_AT_ONCE])
    return found
