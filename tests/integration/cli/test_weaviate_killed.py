"""A Weaviate killed in the midst of a write: objects that are there and in no index, for good unless we do something.

Where a kill hits is luck (it did so in 1 of 2 to 6). So a whole write goes to disk here, Weaviate is killed, and what a
kill in time would have kept from the disk is removed: the logs of its inverted indexes.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from contract.test_weaviate_store import DIMENSIONS, MARIA, rows
from integration.cli.conftest import Command, StartWorker
from integration.cli.test_verify import Settled, assert_found, counts, sound_after, verified

from infra.native.stack import Stack
from infra.native.state import StackState
from schemas.memory import Head
from streams.cli.context import stack_settings
from streams.errors import TransientError
from streams.settings import Settings
from streams.stores.factory import create_store
from streams.stores.protocol import Store, StoreRow

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

HEAD = Head(tenant=MARIA.tenant, user_id=MARIA.user_id, generation=1, revision=7)


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose Weaviate may be killed."""
    stack = Stack("full", home=tmp_path_factory.mktemp("killed"))
    stack.up()
    try:
        yield stack
    finally:
        stack.down(wipe=True)


@pytest.fixture
def settings(light_settings: Settings, full_stack: StackState, own_stack: Stack) -> Settings:
    """The tests' stack, but for the Weaviate that may be killed; conversations that pause close after a second."""
    log, own = stack_settings(light_settings, full_stack), stack_settings(light_settings, own_stack.status())
    return replace(log, kafka=light_settings.kafka, store=own.store).replace("extract", idle_after=log.redis.timeout)


def kill_and_lose_indexes(stack: Stack) -> None:
    """Kill Weaviate before it has written its inverted indexes to disk."""
    stack.kill_part("weaviate")
    lost = [path for path in Path(stack.home).rglob("lsm/property_*/*") if path.is_file()]
    assert lost
    for path in lost:
        path.unlink()


async def test_a_write_without_an_answer_is_whole_once_it_is_repeated(settings: Settings, own_stack: Stack) -> None:
    """Rows with and without a vector are found by every way, as if nothing had been."""
    store = create_store(settings, dimensions=DIMENSIONS)
    await store.open()
    try:
        with_vector, without = rows(MARIA, 2)
        bare = msgspec.structs.replace(without, vector=np.zeros(DIMENSIONS, dtype=np.float32))
        written = [with_vector, bare]
        await store.upsert(written)
        await asyncio.to_thread(own_stack.kill_part, "weaviate")
        with pytest.raises(TransientError):
            await store.upsert(written)
        await asyncio.to_thread(kill_and_lose_indexes, own_stack)
        await asyncio.to_thread(own_stack.start_part, "weaviate")
        deadline = time.monotonic() + 30
        while not await answers(store):
            assert time.monotonic() < deadline, "the store did not find the server again"
            await asyncio.sleep(0.1)
        assert await store.memories(MARIA) == []
        assert await store.count() == 2

        await store.upsert(written)

        await assert_whole(store, written)
    finally:
        await store.close()


async def test_what_was_acknowledged_is_found_by_meaning_after_a_kill(settings: Settings, own_stack: Stack) -> None:
    """Weaviate keeps a bucket's newest 4 KiB of vectors in its memory only, until somebody writes there again."""
    written = rows(MARIA, 40)
    assert sum(row.vector.nbytes for row in written) < 4096
    store = create_store(settings, dimensions=DIMENSIONS)
    await store.open()
    await store.upsert(written, heads=[HEAD])
    await store.close()
    await asyncio.to_thread(own_stack.kill_part, "weaviate")
    await asyncio.to_thread(own_stack.start_part, "weaviate")
    await store.open()
    try:
        await assert_whole(store, written)
    finally:
        await store.close()


async def test_a_plain_write_does_not_mend_and_a_rewrite_does(settings: Settings, own_stack: Stack) -> None:
    """Why `rewrite` exists: for whoever does not know what had no answer, an equal write changes nothing."""
    store = create_store(settings, dimensions=DIMENSIONS)
    await store.open()
    written = rows(MARIA, 40)
    await store.upsert(written, heads=[HEAD])
    await store.close()
    await asyncio.to_thread(kill_and_lose_indexes, own_stack)
    await asyncio.to_thread(own_stack.start_part, "weaviate")
    await store.open()
    try:
        await store.upsert(written, heads=[HEAD])
        assert await store.memories(MARIA) == []
        assert await store.heads([MARIA]) == {}

        await store.rewrite(written, heads=[HEAD])

        await assert_whole(store, written)
        assert await store.heads([MARIA]) == {MARIA: HEAD}
    finally:
        await store.close()


def test_verify_repair_makes_a_damaged_store_sound(
    memstream: Command, start_worker: StartWorker, settled: Settled, own_stack: Stack
) -> None:
    """All is missing and stands there as strangers; after `--repair` the store is as it was, and searchable."""
    before = sound_after(memstream, start_worker, settled, range(240))
    kill_and_lose_indexes(own_stack)
    own_stack.start_part("weaviate")

    damaged = counts(verified(memstream))
    assert damaged["missing"] == damaged["strangers"] == before["memories"]
    mended = verified(memstream, "--repair")

    assert mended["mended"]["memories_written"] == before["memories"]
    assert mended["left"] == []
    after = verified(memstream)
    assert after["sound"], after["findings"]
    assert after["memories"] == before["memories"]
    assert_found(memstream, 100)


async def answers(store: Store) -> bool:
    """Whether the store is back."""
    try:
        await store.count()
    except TransientError:
        return False
    return True


async def assert_whole(store: Store, written: list[StoreRow]) -> None:
    """Every way of reading gives what was written, once."""
    memories = [row.memory for row in written]
    legs = await store.search(MARIA, tokens=["word"], vector=written[0].vector, limit=100)
    with_vector = [row.memory.memory_id for row in written if row.vector.any()]
    assert await store.memories(MARIA) == memories
    assert await store.get(MARIA, [memory.memory_id for memory in memories]) == memories
    assert sorted(hit.memory.memory_id for hit in legs.lexical) == sorted(memory.memory_id for memory in memories)
    assert sorted(hit.memory.memory_id for hit in legs.vector) == sorted(with_vector)
    assert await store.count() == len(written)
