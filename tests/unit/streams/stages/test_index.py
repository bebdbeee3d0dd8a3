"""What index writes to the store and says about it."""

from pathlib import Path

import numpy as np
import pytest
from in_process_log import START, InProcessLog

from schemas import headers
from schemas.candidate import Lane, Watermark
from schemas.ids import UserKey, derive
from schemas.indexed import Indexed, IndexedUser
from schemas.memory import Head, MemoryChange, Op
from streams.engine.stage import Output
from streams.errors import BugError
from streams.settings import Settings
from streams.stages.index import Index
from streams.stores.factory import create_store
from streams.stores.protocol import Store
from topology import keys, topics

USER = UserKey("acme", "u1")
PARTITION = keys.partition_of(USER, 4)
M1, M2 = derive("test", "m1"), derive("test", "m2")


def change(revision: int, memory_id: str, *, op: Op = Op.ADDED, text: str | None = None) -> MemoryChange:
    fields = {} if op is Op.ERASED else {"text": text or f"text {revision}"}
    return MemoryChange(
        change_id=f"c{revision}",
        op=op,
        cause="e",
        generation=1,
        tenant=USER.tenant,
        user_id=USER.user_id,
        revision=revision,
        memory_id=memory_id,
        kind="turn",
        conversation_id="c1",
        role="user",
        name=None,
        slot=None,
        source_event_ids=["e"],
        occurred_at=START,
        valid_from=START,
        valid_to=None,
        recorded_at=START,
        retracted_at=None,
        superseded_by=None,
        **fields,
    )


def put(log: InProcessLog, event: MemoryChange | Watermark, *, head: Head | None = None, vector: bool = True) -> None:
    record_headers: headers.Headers = []
    if vector:
        record_headers.append((headers.VECTOR, np.ones(4, dtype="<f2").tobytes()))
    if head is not None:
        record_headers.append((headers.HEAD, topics.HEADS.codec.encode(head)))
    log.append(
        Output(
            topic=topics.CHANGES,
            partition=PARTITION,
            key=keys.user_key_bytes(USER),
            value=topics.CHANGES.codec.encode(event),
            headers=record_headers,
        )
    )


def head(revision: int) -> Head:
    return Head(tenant=USER.tenant, user_id=USER.user_id, generation=1, revision=revision)


@pytest.fixture
def opened_store(tmp_path: Path) -> Store:
    return create_store(Settings().replace("store", path=str(tmp_path / "store.db")), dimensions=4)


async def test_the_newest_state_of_each_memory_is_written_then_the_head(opened_store: Store) -> None:
    """Several changes of one memory in a batch are one row; the head follows behind the rows."""
    await opened_store.open()
    log = InProcessLog()
    put(log, change(1, M1, text="first"))
    put(log, change(2, M2))
    put(log, change(3, M1, op=Op.REINFORCED, text="last"), head=head(3))
    (decision,) = await log.run(Index(opened_store, reader=log, generation=1))

    assert [(row.memory.memory_id, row.memory.text) for row in decision.effect.rows] == [(M1, "last"), (M2, "text 2")]
    assert [(m.memory_id, m.revision) for m in await opened_store.memories(USER)] == [(M2, 2), (M1, 3)]
    assert (await opened_store.heads([USER]))[USER].revision == 3
    await opened_store.close()


async def test_one_notice_per_partition_names_users_revisions_and_watermarks(opened_store: Store) -> None:
    """Caches learn who changed, up to which revision, which memories, and how far each lane has come."""
    await opened_store.open()
    log = InProcessLog()
    put(log, change(1, M1))
    put(log, change(2, M2), head=head(2))
    put(log, Watermark(Lane.RECORD, 9))
    await log.run(Index(opened_store, reader=log, generation=1))

    (notice,) = log.decoded(topics.INDEXED)
    assert notice == Indexed(
        generation=1,
        users=[IndexedUser("acme", "u1", 2, [M1, M2])],
        watermarks=[Watermark(Lane.RECORD, 9)],
    )
    await opened_store.close()


async def test_watermarks_go_on_when_nothing_else_does(opened_store: Store) -> None:
    """A batch of watermarks only writes nothing to the store and still says how far the lanes have come."""
    await opened_store.open()
    log = InProcessLog()
    put(log, Watermark(Lane.EXTRACT, 4))
    (decision,) = await log.run(Index(opened_store, reader=log, generation=1))

    assert decision.effect is None
    assert log.decoded(topics.INDEXED)[0].watermarks == [Watermark(Lane.EXTRACT, 4)]
    await opened_store.close()


async def test_an_erased_memory_leaves_the_store(opened_store: Store) -> None:
    """A change without content deletes what was stored."""
    await opened_store.open()
    log = InProcessLog()
    put(log, change(1, M1))
    put(log, change(2, M1, op=Op.ERASED))
    running = Index(opened_store, reader=log, generation=1)
    await log.run(running, max_events=1)

    assert await opened_store.memories(USER) == []
    await opened_store.close()


async def test_a_change_without_its_vector_stops_the_stage(opened_store: Store) -> None:
    """Half a memory in the store would be a gap that never closes."""
    await opened_store.open()
    log = InProcessLog()
    put(log, change(1, M1), vector=False)

    with pytest.raises(BugError, match="without its vector"):
        await log.run(Index(opened_store, reader=log, generation=1))
    await opened_store.close()
