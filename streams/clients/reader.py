"""Reading memories: search within one user, as of any time."""

from datetime import datetime
from types import TracebackType
from typing import Self

import msgspec

from schemas.ids import DEFAULT_TENANT, UserKey
from schemas.memory import Memory
from streams.analysis import tokens
from streams.clients.fusion import fuse
from streams.clients.names import check_names
from streams.embedders.factory import create_embedder
from streams.embedders.protocol import Embedder
from streams.errors import UsageError
from streams.settings import Settings
from streams.stores.factory import create_store
from streams.stores.protocol import Store

_OVERFETCH = 4
_OVERFETCH_AT_LEAST = 50
"""Each leg is asked for more than the answer holds: fusion and the time filters take from it."""


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One memory that a search found.

    Attributes:
        score: 0 to 1, comparable within one answer only.
        revision: of the memory's newest change.
    """

    memory_id: str
    kind: str
    text: str
    score: float
    source_event_ids: list[str]
    conversation_id: str | None
    name: str | None
    valid_from: datetime
    valid_to: datetime | None
    revision: int


class MemoryReader:
    """Reads one generation's memories. Use it as an async context manager; it may be shared by any number of tasks.

    Entering it raises `NothingThereError` where no worker has made a SQLite store yet.

    Args:
        settings: where the store is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embedder: Embedder = create_embedder()
        self._store: Store = create_store(settings, dimensions=self._embedder.dimensions, creates=False)

    async def __aenter__(self) -> Self:
        await self._store.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of the store."""
        await self._store.close()

    async def search(
        self,
        user_id: str,
        query: str,
        *,
        tenant: str = DEFAULT_TENANT,
        limit: int = 10,
        valid_at: datetime | None = None,
        known_at: datetime | None = None,
    ) -> list[SearchResult]:
        """Find memories of one user, best first.

        Args:
            user_id: whose; no other's are ever read.
            query: in any language.
            tenant: the user's tenant.
            limit: 1 to 1000.
            valid_at: what was true then; none means what is held true now.
            known_at: what was known then; none means everything known now.

        Raises:
            UsageError: the limit is out of range, or nobody can be called so.
            TransientError: the store is away.
        """
        if not 1 <= limit <= 1000:
            raise UsageError(f"limit {limit} is not from 1 to 1000", next_step="ask for fewer, or in several searches")
        check_names(tenant, user_id)
        vector = (await self._embedder.embed([query]))[0]
        legs = await self._store.search(
            UserKey(tenant, user_id),
            tokens=tokens(query),
            vector=vector,
            limit=max(_OVERFETCH * limit, _OVERFETCH_AT_LEAST),
        )
        held = [r for r in fuse(legs) if _holds(r.memory, valid_at=valid_at, known_at=known_at)]
        return [_result(r.memory, r.score) for r in held[:limit]]


def _holds(memory: Memory, *, valid_at: datetime | None, known_at: datetime | None) -> bool:
    if known_at is None:
        known = memory.retracted_at is None
    else:
        known = memory.recorded_at <= known_at and (memory.retracted_at is None or known_at < memory.retracted_at)
    if valid_at is None:
        return known and memory.superseded_by is None
    return known and memory.valid_from <= valid_at and (memory.valid_to is None or valid_at < memory.valid_to)


def _result(memory: Memory, score: float) -> SearchResult:
    return SearchResult(
        memory_id=memory.memory_id,
        kind=memory.kind,
        text=memory.text,
        score=round(score, 6),
        source_event_ids=memory.source_event_ids,
        conversation_id=memory.conversation_id,
        name=memory.name,
        valid_from=memory.valid_from,
        valid_to=memory.valid_to,
        revision=memory.revision,
    )
