"""A Weaviate that was wiped or took a stale write: noticed, rebuilt, mended."""

import asyncio
import urllib.request
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from integration.cli.conftest import Command, StartWorker
from integration.cli.test_verify import (
    USERS,
    Settled,
    assert_found,
    counts,
    publish,
    sound_after,
    verified,
    wait_until_sound,
    with_store,
)

from infra.native.state import StackState
from schemas.ids import UserKey
from streams.cli.context import stack_settings
from streams.settings import Settings
from streams.stores.protocol import Store, StoreRow
from streams.stores.weaviate_layout import heads_collection_name
from topology.keys import collection_name

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

USER = UserKey("default", "u3")


@pytest.fixture
def settings(light_settings: Settings, full_stack: StackState) -> Settings:
    """Weaviate in place of SQLite; conversations that pause close after a second."""
    settings = stack_settings(light_settings, full_stack)
    return replace(settings, kafka=light_settings.kafka).replace("extract", idle_after=settings.redis.timeout)


def drop(settings: Settings, collection: str) -> None:
    """Delete a collection, as somebody who cleans up the wrong one does."""
    request = urllib.request.Request(
        f"http://{settings.store.http}/v1/schema/{collection}",
        method="DELETE",
        headers={"Authorization": f"Bearer {settings.store.api_key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        assert answer.status == 200


@pytest.mark.parametrize("with_heads", [True, False], ids=["all", "memories only"])
def test_dropped_collections_are_noticed_and_rebuilt_by_the_next_worker(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings, *, with_heads: bool
) -> None:
    """Also when the heads survived, which stand in a collection of their own and vouch for nothing."""
    before = sound_after(memstream, start_worker, settled, range(240))

    namespace = settings.kafka.namespace
    drop(settings, collection_name(namespace=namespace))
    if with_heads:
        drop(settings, heads_collection_name(namespace=namespace, generation=1))
    damaged = counts(verified(memstream))
    assert damaged["missing"] == before["memories"]
    assert damaged.get("store_head_behind") == (USERS if with_heads else None)

    start_worker()
    assert wait_until_sound(memstream)["memories"] == before["memories"]
    assert_found(memstream, 100)


def test_repair_undoes_a_stale_write(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings
) -> None:
    """Weaviate cannot refuse what is older, or strange; `--repair` finds and mends it beside a running worker."""
    publish(memstream, range(120))
    start_worker()
    settled()

    async def damage(store: Store) -> None:
        first, second, *_ = await store.memories(USER)
        stale = msgspec.structs.replace(first, revision=first.revision - 1, text="what it was before")
        unknown = msgspec.structs.replace(second, memory_id="00000000-0000-5000-8000-000000000001")
        vector = np.eye(1, 256, dtype=np.float32)[0]
        await store.upsert([StoreRow(memory=m, tokens=["stale"], vector=vector) for m in (stale, unknown)])

    asyncio.run(with_store(settings, damage))
    assert counts(verified(memstream)) == {"older": 1, "surplus": 1}
    report = verified(memstream, "--repair")
    assert report["mended"] == {"memories_written": 1, "memories_deleted": 1, "heads_written": 0}
    assert report["left"] == []
    assert verified(memstream)["sound"]
    assert_found(memstream, 3)
