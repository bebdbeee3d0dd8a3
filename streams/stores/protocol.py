"""What a store promises. Every implementation runs the same contract suite (`tests/contract/test_store.py`).

A store is a derived view: the log can build it again. It is not asked to decide anything, and its search returns legs
with raw scores; fusion is ours (`streams.clients.fusion`), so that search means the same on every store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.ids import UserKey
from schemas.memory import Head, Memory


class StoreRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One memory as it is written; made in C, because there is one for every change.

    Attributes:
        memory: the record; its id is a UUID in canonical form, as `schemas.ids` derives it.
        tokens: the words it is found by, from `streams.analysis`; the same on every store, and found exactly as they
            are written here. May repeat: repeats count. None at all leaves it out of lexical legs.
        vector: (dimensions,) float32, unit length; zeros where there was nothing to embed, which leaves it out of
            vector legs. Stores may keep it in half precision.
    """

    memory: Memory
    tokens: Sequence[str]
    vector: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One memory in one leg.

    Attributes:
        memory: the record.
        score: BM25 in the lexical leg, cosine in the vector leg; comparable within one leg of one answer only. How rare
            a word is may be counted within the user (SQLite) or within more users (Weaviate).
    """

    memory: Memory
    score: float


@dataclass(frozen=True, kw_only=True)
class Legs:
    """What one query found, best first in each leg; at most `limit` each. A memory may stand in both."""

    lexical: list[Hit]
    vector: list[Hit]


class Store(Protocol):
    """Keeps memories and heads of one generation.

    Every call is about given users and never touches another's. Calls are safe to repeat. Every method raises
    `TransientError` when the store is away or too slow (each call is bounded by the settings' timeout) and
    `RefusedError` when it refuses for good, with the cause and what to do. Safe for concurrent use in one event loop.
    """

    async def open(self) -> None:
        """Connect, and create or check the layout and its schema version.

        Raises:
            RefusedError: the layout is of another schema version, vector length or bucket count.
        """

    async def close(self) -> None:
        """Let go of everything; a closed store may be opened again."""

    async def upsert(self, rows: Sequence[StoreRow], *, heads: Sequence[Head] = ()) -> None:
        """Write memories whole and, behind them, heads; durable when it returns.

        Rows of one memory in one call come in revision order; the last one counts. A row with an older revision than
        the stored one changes nothing where the store can compare (SQLite); where it cannot (Weaviate), the last
        writer wins and the caller must not be stale. No store replaces a head by one of an older revision.

        After an error SQLite has written nothing, Weaviate any part of the rows, and no head unless all rows are there;
        the same call again mends that.

        Raises:
            RefusedError: the store refuses a row, or a row does not fit it (length of the vector, form of the id);
                nothing is skipped silently.
        """

    async def rewrite(self, rows: Sequence[StoreRow], *, heads: Sequence[Head] = ()) -> None:
        """Write as `upsert` does, also what the store holds already but no longer finds.

        For mending, at up to twice the cost: a Weaviate that was killed may hold objects that stand in no index,
        and takes equal ones for nothing new.
        """

    async def delete(self, user: UserKey, memory_ids: Sequence[str]) -> None:
        """Erase memories, content and index entries; ids that are not there are fine."""

    async def heads(self, users: Sequence[UserKey]) -> dict[UserKey, Head]:
        """Heads of those of the users who have one."""

    async def memories(self, user: UserKey) -> list[Memory]:
        """Every memory of a user, in revision order, however many they are."""

    async def get(self, user: UserKey, memory_ids: Sequence[str]) -> list[Memory]:
        """Those of the memories that are there, in the order asked for."""

    async def search(self, user: UserKey, *, tokens: Sequence[str], vector: NDArray[np.float32], limit: int) -> Legs:
        """Search one user's memories in two legs.

        Args:
            user: whose memories; no other's are ever read.
            tokens: the analysed query; no tokens gives an empty lexical leg.
            vector: (dimensions,) float32; zeros give an empty vector leg.
            limit: hits per leg.
        """

    async def count(self) -> int:
        """How many memories of all users the store holds; for tests, status and verification."""
