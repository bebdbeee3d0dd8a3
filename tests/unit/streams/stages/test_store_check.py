"""How index notices that its store lacks what it had, and what it does about it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process_log import START, InProcessLog

from schemas import headers
from schemas.candidate import Lane, Watermark
from schemas.ids import UserKey, derive
from schemas.memory import Head, MemoryChange, Op
from streams.engine.stage import Output
from streams.settings import Settings
from streams.stages.index import Index
from streams.stages.store_check import StoreCheck
from streams.stages.working_set import digest_of, fold
from streams.stores.factory import create_store
from streams.stores.protocol import Store
from topology import topics
from topology.topics import TopicSpec

PARTITION = 0


class ReadLog(InProcessLog):
    """Notes which offsets of changes were read."""

    def __init__(self) -> None:
        super().__init__()
        self.stretches: list[range] = []

    async def read(
        self, topic: TopicSpec, partition: int, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[list[Any]]:
        async for records in super().read(topic, partition, start=start, stop=stop):
            self.stretches.append(range(records[0].offset(), records[-1].offset() + 1))
            yield records


def put(log: InProcessLog, event: MemoryChange | Watermark, head: Head | None = None) -> None:
    record_headers: headers.Headers = [(headers.VECTOR, np.eye(1, 4, dtype="<f2").tobytes())]
    if head is not None:
        record_headers.append((headers.HEAD, topics.HEADS.codec.encode(head)))
    log.append(
        Output(
            topic=topics.CHANGES,
            partition=PARTITION,
            key=None,
            value=topics.CHANGES.codec.encode(event),
            headers=record_headers,
        )
    )


def say(log: InProcessLog, script: list[tuple[int, int, bool]]) -> list[MemoryChange]:
    """Changes of users' memories, each with its head: whose, which memory, and whether it is erased."""
    told: list[MemoryChange] = []
    for number, (user_no, memory_no, erase) in enumerate(script):
        user = UserKey("acme", f"u{user_no}")
        known = fold(told).get(user, {})
        memory_id = derive("test", user.user_id, f"m{memory_no}")
        op = Op.ERASED if erase else Op.REINFORCED if memory_id in known else Op.ADDED
        text: dict[str, Any] = {} if erase else {"text": f"text {number}"}
        told.append(
            MemoryChange(
                change_id=f"c{number}",
                op=op,
                cause="e",
                generation=1,
                tenant=user.tenant,
                user_id=user.user_id,
                revision=1 + sum(change.user == user for change in told),
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
                **text,
            )
        )
        memories = fold(told)[user].values()
        head = Head(
            tenant=user.tenant,
            user_id=user.user_id,
            generation=1,
            revision=told[-1].revision,
            digest=digest_of(memories),
            memories=len(memories),
        )
        put(log, told[-1], head)
    return told


async def settle(log: InProcessLog, store: Store, changes: int) -> None:
    """Index settles so many changes; its own check finds nothing, for it starts at the beginning."""
    index = Index(store, reader=log, generation=1)
    records = log.records
    log.records = {name: stored[:changes] for name, stored in records.items()}
    await log.run(index)
    log.records = records


async def open_store(path: Path) -> Store:
    opened = create_store(Settings().replace("store", path=str(path)), dimensions=4)
    await opened.open()
    return opened


async def contents(store: Store, users: set[UserKey]) -> dict[UserKey, Any]:
    found = {user: {memory.memory_id: memory for memory in await store.memories(user)} for user in users}
    return {user: memories for user, memories in found.items() if memories}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A SQLite store of the test's own."""
    opened = await open_store(tmp_path / "store.db")
    yield opened
    await opened.close()


scripts = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from([False, False, True])), min_size=4, max_size=15
)


@given(scripts, st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_older_copy_becomes_what_was_settled(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    """Whatever moment a store was copied at, wiped included, it ends as the fold up to index's position, or ahead."""
    copied_at, position = data.draw(st.integers(0, len(script))), data.draw(st.integers(0, len(script)))
    log = InProcessLog()
    told = say(log, script)
    store = await open_store(tmp_path_factory.mktemp("store") / "store.db")
    try:
        await settle(log, store, copied_at)
        await StoreCheck(store, reader=log).ensure(PARTITION, position=position)
        known = fold(told[: max(copied_at, position)])
        assert await contents(store, set(known)) == {user: memories for user, memories in known.items() if memories}
        settled = {change.user: change.revision for change in told[: max(copied_at, position)]}
        assert {user: head.revision for user, head in (await store.heads(list(settled))).items()} == settled
    finally:
        await store.close()


async def test_a_sound_store_costs_one_short_read(store: Store) -> None:
    """However long the log is, a store that has its newest revisions is asked for a few of them only."""
    log = ReadLog()
    for offset in range(2000):
        put(log, Watermark(Lane.RECORD, offset))
    told = say(log, [(number % 3, number, False) for number in range(30)])
    await settle(log, store, 2030)
    log.stretches.clear()
    await StoreCheck(store, reader=log).ensure(PARTITION, position=2030)

    assert log.stretches == [range(1030, 2030)]
    assert await contents(store, {change.user for change in told}) == fold(told)


async def test_changes_behind_many_watermarks_are_found(store: Store) -> None:
    """A partition that has long seen watermarks only is still known to lack what came before them."""
    log = ReadLog()
    told = say(log, [(0, number, False) for number in range(5)])
    for offset in range(3000):
        put(log, Watermark(Lane.RECORD, offset))
    await StoreCheck(store, reader=log).ensure(PARTITION, position=3005)

    assert await contents(store, {told[0].user}) == fold(told)


async def test_what_is_pending_is_no_damage(store: Store) -> None:
    """A store that lags, because index does, is left alone: nothing but the tail is read."""
    log = ReadLog()
    say(log, [(number % 3, number, False) for number in range(30)])
    await settle(log, store, 10)
    log.stretches.clear()
    await StoreCheck(store, reader=log).ensure(PARTITION, position=10)

    assert log.stretches == [range(10)]
    assert (await store.heads([UserKey("acme", "u0")]))[UserKey("acme", "u0")].revision == 4


async def test_memories_that_went_without_their_heads_are_missed(store: Store) -> None:
    """Heads alone do not vouch for a store: the newest memories are asked for, too."""
    log = InProcessLog()
    told = say(log, [(0, number, False) for number in range(5)])
    await settle(log, store, 5)
    user = told[0].user
    await store.delete(user, [change.memory_id for change in told])
    await StoreCheck(store, reader=log).ensure(PARTITION, position=5)

    assert await contents(store, {user}) == fold(told)


async def test_a_rebuild_leaves_a_memory_that_the_log_does_not_know(store: Store) -> None:
    """Another worker may have written it a moment ago; only verification looks that up."""
    log = InProcessLog()
    told = say(log, [(0, 0, False), (1, 0, False), (0, 1, False)])
    await settle(log, store, 3)
    await store.delete(told[1].user, [told[1].memory_id])
    await StoreCheck(store, reader=log).ensure(PARTITION, position=2)

    assert await contents(store, {change.user for change in told}) == fold(told)


async def test_a_rebuild_brings_older_memories_up_to_date_and_erases_what_was_erased(store: Store) -> None:
    """A copy from before a change has the memory as it was then, and may have one that is to be forgotten."""
    log = InProcessLog()
    told = say(log, [(0, 0, False), (0, 1, False), (0, 0, False), (0, 1, True)])
    await settle(log, store, 2)
    await StoreCheck(store, reader=log).ensure(PARTITION, position=4)

    assert [(m.memory_id, m.revision) for m in await store.memories(told[0].user)] == [(told[0].memory_id, 3)]


async def test_index_checks_before_it_reads_on(store: Store) -> None:
    """A restart over a wiped store first restores what was settled, then goes on."""
    log = InProcessLog()
    told = say(log, [(number % 3, number % 5, False) for number in range(20)])
    await Index(store, reader=log, generation=1).load(PARTITION, position=12)

    settled = fold(told[:12])
    assert await contents(store, set(settled)) == settled
