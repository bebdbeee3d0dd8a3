"""Carrying out a plan that mends a store."""

from pathlib import Path

import numpy as np
from unit.streams.clients.verification.users_changes import USER, change, head_of, memories_of, memory_id

from schemas import headers
from schemas.memory import Op
from streams.settings import Settings
from streams.stores.factory import create_store
from streams.stores.mending import Mender, MendingPlan, row_of

VECTOR = [(headers.VECTOR, np.eye(1, 4, dtype="<f2").tobytes())]
TOLD = [change(1, "a"), change(2, "b"), change(3, "a", Op.REINFORCED), change(4, "c")]


async def test_a_plan_is_carried_out_whole_and_to_the_revision(tmp_path: Path) -> None:
    """What is strange goes first, also where the store refuses older revisions; then memories, vectors and the head."""
    store = create_store(Settings().replace("store", path=str(tmp_path / "store.db")), dimensions=4)
    await store.open()
    strange = [change(90, "a", text="strange"), change(91, "d")]
    await store.upsert([row for one in strange if (row := row_of(one, VECTOR)) is not None])
    plan = MendingPlan(
        rows={(USER, memory_id("a")): 3, (USER, memory_id("c")): 4},
        deletions={USER: [memory_id("a"), memory_id("d")]},
        heads=[head_of(TOLD)],
    )
    mender = Mender(store, plan)
    await mender.begin()
    for one in TOLD:
        await mender.take(one, VECTOR)
    await mender.finish()

    assert await store.memories(USER) == [memory for memory in memories_of(TOLD) if memory.memory_id != memory_id("b")]
    assert await store.heads([USER]) == {USER: head_of(TOLD)}
    assert (mender.written, mender.deleted, mender.heads) == (2, 2, 1)
    found = await store.search(USER, tokens=[], vector=np.eye(1, 4, dtype=np.float32)[0], limit=9)
    assert {hit.memory.memory_id for hit in found.vector} == {memory_id("a"), memory_id("c")}
    await store.close()


def test_a_change_without_its_vector_gives_no_row() -> None:
    """Half a memory is none."""
    assert row_of(TOLD[0], [(headers.HEAD, b"")]) is None
