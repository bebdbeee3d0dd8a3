"""How fast a store takes the same rows alone: its writer, no Kafka, no other work."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from benchmarks.probes import WaitError, read_all
from schemas import headers
from schemas.memory import Memory, MemoryChange, Op
from streams.analysis import document_tokens
from streams.embedders.factory import create_embedder
from streams.settings import Settings
from streams.stores.factory import create_store
from streams.stores.protocol import StoreRow
from topology import topics

T = TypeVar("T")

_NAMESPACE = "bench-writer."
"""Another namespace is another collection in Weaviate, and another file of SQLite."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a store took alone.

    Attributes:
        rows: how many.
        seconds: for all of them.
        batch: rows of one call.
    """

    rows: int
    seconds: float
    batch: int

    @property
    def rows_per_s(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def rows_of(settings: Settings, *, limit: int) -> list[StoreRow]:
    """The rows that index made of this log, in the order in which it takes turns between partitions.

    Args:
        settings: where the log is.
        limit: at most so many; the newest, since the first ones warmed the workers up.
    """
    partitions: dict[int, list[StoreRow]] = {}
    for message in read_all(settings, topics.CHANGES):
        value: Any = message.value()
        change = topics.CHANGES.codec.decode(value)
        if isinstance(change, MemoryChange) and change.op is not Op.ERASED:
            found: Any = message.headers()
            vector = np.frombuffer(headers.get(found, headers.VECTOR) or b"", dtype="<f2").astype(np.float32)
            memory = Memory.after(change)
            row = StoreRow(memory=memory, tokens=document_tokens(memory), vector=vector)
            partitions.setdefault(message.partition() or 0, []).append(row)
    return list(by_turns(list(partitions.values())))[-limit:]


def by_turns(partitions: Sequence[Sequence[T]]) -> Iterator[T]:
    """One of each partition after the other, as long as they have some: how micro-batches are merged."""
    for at in range(max(map(len, partitions), default=0)):
        yield from (rows[at] for rows in partitions if at < len(rows))


async def write_alone(settings: Settings, rows: Sequence[StoreRow]) -> Written:
    """Write rows into an empty store of the same kind, batch by batch, as index does.

    Raises:
        WaitError: the store does not hold them afterwards.
    """
    settings = settings.replace("kafka", namespace=_NAMESPACE)
    batch = settings.batch.max_events
    store = create_store(settings, dimensions=create_embedder().dimensions)
    await store.open()
    try:
        started_at_s = time.monotonic()
        for at in range(0, len(rows), batch):
            await store.upsert(rows[at : at + batch])
        seconds = time.monotonic() - started_at_s
        wanted = len({(row.memory.user, row.memory.memory_id) for row in rows})
        if (held := await store.count()) != wanted:
            raise WaitError(f"the store took {wanted} memories alone and holds {held}")
    finally:
        await store.close()
    return Written(rows=len(rows), seconds=seconds, batch=batch)
