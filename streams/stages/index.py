"""Stage 5 of 6, index: changes go to the store; once durable there, that is announced on `memory.indexed`.

A cache may only be invalidated after the store has the change, or a reader fills it with the old state again: hence the
notice comes from here, behind the write, and caches follow it. No change is ever dead-lettered by the store's refusal:
the stage stops and says why, because a gap in the store would never close.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas import headers
from schemas.ids import UserKey
from schemas.indexed import Indexed, IndexedUser
from schemas.memory import ChangesRecord, Head, MemoryChange, Op
from streams.clock import Clock
from streams.embedders.factory import create_embedder
from streams.engine.catch_up import KafkaLogReader, LogReader
from streams.engine.stage import Consumed, Decision, MicroBatch, Output, StatelessStage, collect_watermarks
from streams.errors import BugError
from streams.settings import Settings
from streams.stages.store_check import StoreCheck
from streams.stores.factory import create_store
from streams.stores.mending import row_of
from streams.stores.protocol import Store, StoreRow
from topology import graph, topics


@dataclass
class Writes:
    """What one batch writes to the store: heads last.

    Attributes:
        rows: the newest state of every memory of the batch, but of those that it erases.
        erased: memories to delete, per user.
        heads: the newest head of every user of the batch.
    """

    rows: list[StoreRow] = field(default_factory=list)
    erased: dict[UserKey, list[str]] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)


class Index(StatelessStage):
    """Changes to store rows.

    Args:
        store: where they go.
        reader: reads changes that were settled before, should the store lack them.
        generation: written on every notice.
    """

    spec = graph.stage(graph.StageName.INDEX)
    dead_letters = False  # a gap in the store would never close

    def __init__(self, store: Store, *, reader: LogReader, generation: int) -> None:
        self._store = store
        self._check = StoreCheck(store, reader=reader)
        self._generation = generation

    async def open(self) -> None:
        """Connect the store."""
        await self._store.open()

    async def close(self) -> None:
        """Let go of the store."""
        await self._store.close()

    async def load(self, partition: int, *, position: int) -> None:
        """Make sure that the store has what was settled before: it may have been wiped, or be an older copy."""
        await self._check.ensure(partition, position=position)

    async def decide(self, batch: MicroBatch[ChangesRecord]) -> Decision:
        """The newest state of each memory, and one notice per partition."""
        newest: dict[int, dict[UserKey, dict[str, Consumed[MemoryChange]]]] = {}
        writes = Writes()
        heads: dict[UserKey, Head] = {}
        for record in batch.records:
            change = record.event
            if isinstance(change, MemoryChange):
                user = change.user
                changed = newest.setdefault(record.partition, {}).setdefault(user, {})
                changed[change.memory_id] = record  # type: ignore[assignment]  # narrowed by isinstance
                if (head := headers.get(record.headers, headers.HEAD)) is not None:
                    heads[user] = topics.HEADS.codec.decode(head)
        for users in newest.values():
            for user, records in users.items():
                for memory_id, newest_record in records.items():
                    if newest_record.event.op is Op.ERASED:
                        writes.erased.setdefault(user, []).append(memory_id)
                    else:
                        writes.rows.append(self._row(newest_record))
        writes.heads = list(heads.values())
        return Decision(outputs=self._notices(batch, newest), effect=writes if newest else None)

    async def perform(self, effect: Writes) -> None:
        """Erase, write memories, then heads: a head speaks of a store that is as it says."""
        for user, memory_ids in effect.erased.items():
            await self._store.delete(user, memory_ids)
        await self._store.upsert(effect.rows, heads=effect.heads)

    def _row(self, record: Consumed[MemoryChange]) -> StoreRow:
        row = row_of(record.event, record.headers)
        if row is None:
            raise BugError(f"{topics.CHANGES.name} {record.partition}/{record.offset}: a change without its vector")
        return row

    def _notices(
        self, batch: MicroBatch[Any], newest: Mapping[int, Mapping[UserKey, Mapping[str, Consumed[MemoryChange]]]]
    ) -> list[Output]:
        watermarks = collect_watermarks(batch)
        return [
            Output(
                topic=topics.INDEXED,
                partition=partition,
                key=None,
                value=topics.INDEXED.codec.encode(
                    Indexed(
                        generation=self._generation,
                        users=[
                            IndexedUser(
                                user.tenant,
                                user.user_id,
                                max(record.event.revision for record in changed.values()),
                                list(changed),
                            )
                            for user, changed in newest.get(partition, {}).items()
                        ],
                        watermarks=watermarks.get(partition, []),
                    )
                ),
            )
            for partition in sorted(newest.keys() | watermarks.keys())
        ]


def create(settings: Settings, clock: Clock, *, reader: LogReader | None = None) -> Index:
    """The stage as the worker runs it, or with another reader of the log."""
    return Index(
        create_store(settings, dimensions=create_embedder().dimensions),
        reader=reader
        or KafkaLogReader(settings.kafka, client_id="memstream.index.check", monotonic_s=clock.monotonic_s),
        generation=settings.worker.generation,
    )
