"""What the Weaviate store relies on and promises beyond every store's contract, on a real server."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from schemas.ids import UserKey, derive
from schemas.memory import Head, Memory
from streams.errors import RefusedError, TransientError, UsageError
from streams.settings import Settings, StoreSettings
from streams.stores import weaviate_store
from streams.stores.factory import create_store
from streams.stores.protocol import StoreRow
from topology.keys import alias_name, bucket_name, bucket_of, collection_name

DIMENSIONS = 8
MARIA = UserKey("acme", "maria")


def rows(user: UserKey, count: int, text: str = "text") -> list[StoreRow]:
    """Rows of one user."""
    at = datetime(2025, 3, 1, tzinfo=UTC)
    vector = np.eye(DIMENSIONS, dtype=np.float32)[0]
    return [
        StoreRow(
            memory=Memory(
                tenant=user.tenant,
                user_id=user.user_id,
                memory_id=derive("turn", *user, str(number)),
                kind="turn",
                text=text,
                revision=number,
                generation=1,
                conversation_id=None,
                role=None,
                name=None,
                slot=None,
                source_event_ids=[],
                occurred_at=at,
                valid_from=at,
                valid_to=None,
                recorded_at=at,
                retracted_at=None,
                superseded_by=None,
            ),
            tokens=["word"],
            vector=vector,
        )
        for number in range(count)
    ]


@pytest.fixture
def settings(weaviate_settings: StoreSettings) -> Settings:
    """Settings with a namespace that no other test has."""
    return Settings(store=weaviate_settings).replace("kafka", namespace=f"t{secrets.token_hex(6)}", partitions=1)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Any]:
    """An open, empty store."""
    opened: Any = create_store(settings, dimensions=DIMENSIONS)
    await opened.open()
    yield opened
    await opened._client.alias.delete(alias_name=alias_name(namespace=settings.kafka.namespace))
    await opened._client.collections.delete([opened._memories, opened._heads])
    await opened.close()


class Gate:
    """A TCP relay that can be shut, or let connections in and say nothing."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.silent = False
        self.port = 0

    async def open(self) -> None:
        """Relay, on the same port as before."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Break every connection and take no new one."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if not self.silent:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        writer.close()


@pytest.fixture
async def gates(settings: Settings) -> AsyncIterator[list[Gate]]:
    """Relays before REST and gRPC."""
    both = [Gate(settings.store.http), Gate(settings.store.grpc)]
    for gate in both:
        await gate.open()
    yield both
    for gate in both:
        await gate.shut()


@pytest.fixture
async def gated(settings: Settings, store: Any, gates: list[Gate]) -> AsyncIterator[Any]:
    """The same store through the relays, with a timeout of two seconds."""
    del store  # it makes the layout and removes it
    http, grpc = (f"127.0.0.1:{gate.port}" for gate in gates)
    opened = create_store(
        settings.replace("store", http=http, grpc=grpc, timeout=timedelta(seconds=2)), dimensions=DIMENSIONS
    )
    await opened.open()
    yield opened
    await opened.close()


async def every_call(store: Any) -> list[BaseException | None]:
    """The error of each kind of call."""
    vector = np.eye(DIMENSIONS, dtype=np.float32)[0]
    calls = [
        store.upsert(rows(MARIA, 3)),
        store.search(MARIA, tokens=["word"], vector=vector, limit=3),
        store.memories(MARIA),
        store.heads([MARIA]),
        store.delete(MARIA, [derive("turn", "x")]),
        store.count(),
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return [answer if isinstance(answer, BaseException) else None for answer in answers]


async def test_server_goes_and_comes_back(gated: Any, gates: list[Gate]) -> None:
    """While the server is away every call is a passing error within its timeout; seconds after it is back, all work."""
    assert await every_call(gated) == [None] * 6

    for gate in gates:
        await gate.shut()
    started = time.monotonic()
    errors = await every_call(gated)
    assert all(isinstance(error, TransientError) for error in errors), errors
    assert time.monotonic() - started < 4

    for gate in gates:
        await gate.open()
    deadline = time.monotonic() + 15
    while any(await every_call(gated)):
        assert time.monotonic() < deadline, "the store did not find the server again"
        await asyncio.sleep(0.1)


async def test_silent_server(gated: Any, gates: list[Gate]) -> None:
    """A server that takes requests and never answers is a passing error within the timeout."""
    for gate in gates:
        gate.silent = True

    started = time.monotonic()
    errors = await every_call(gated)

    assert all(isinstance(error, TransientError) for error in errors), errors
    assert time.monotonic() - started < 4


async def test_read_only_bucket(store: Any) -> None:
    """A bucket that went read-only (a full disk) is a passing error for its users only; the same write works later."""
    other = next(user for n in range(100) if bucket_of(user := UserKey("acme", f"u{n}"), 4) != bucket_of(MARIA, 4))
    shard = [bucket_name(bucket_of(MARIA, 4))]
    config = store._client.collections.use(store._memories).config
    await config.update_shards(status="READONLY", shard_names=shard)

    with pytest.raises(TransientError, match="read-only"):
        await store.upsert(rows(MARIA, 2) + rows(other, 2))
    assert len(await store.memories(other)) == 2
    await config.update_shards(status="READY", shard_names=shard)
    await store.upsert(rows(MARIA, 2) + rows(other, 2))

    await config.update_shards(status="READONLY", shard_names=shard)
    with pytest.raises(TransientError, match="did not erase"):
        await store.delete(MARIA, [row.memory.memory_id for row in rows(MARIA, 2)])
    await config.update_shards(status="READY", shard_names=shard)
    assert len(await store.memories(MARIA)) == 2


async def test_one_bad_object(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that Weaviate refuses is named in the error; the others of its batch are written, and once."""
    from streams.stores import weaviate_wire

    sent: list[int] = []
    request = weaviate_wire.batch_request

    def counted(objects: list[Any]) -> Any:
        sent.append(len(objects))
        return request(objects)

    monkeypatch.setattr(weaviate_wire, "batch_request", counted)
    objects = store._objects(MARIA, rows(MARIA, 3))
    objects[1].uuid = "no-uuid"

    with pytest.raises(RefusedError, match="UUID"):
        await store._write(objects)

    assert sent == [3, 1, 1, 1]
    assert [memory.revision for memory in await store.memories(MARIA)] == [0, 2]


async def test_head_of_another_writer(settings: Settings) -> None:
    """A newer head that somebody else wrote stays, once a store no longer counts on what it wrote itself."""
    ours = create_store(settings, dimensions=DIMENSIONS)
    theirs = create_store(settings, dimensions=DIMENSIONS)
    await ours.open()
    await theirs.open()
    try:
        await ours.upsert((), heads=[Head(tenant=MARIA.tenant, user_id=MARIA.user_id, generation=1, revision=1)])
        await theirs.upsert((), heads=[Head(tenant=MARIA.tenant, user_id=MARIA.user_id, generation=1, revision=5)])
        await asyncio.sleep(weaviate_store.KNOWN_HEAD_S)

        await ours.upsert((), heads=[Head(tenant=MARIA.tenant, user_id=MARIA.user_id, generation=1, revision=3)])

        assert (await theirs.heads([MARIA]))[MARIA].revision == 5
    finally:
        await ours.close()
        await theirs.close()


async def test_wrong_key(settings: Settings) -> None:
    """A wrong API key is refused, with the name of the setting to check."""
    wrong = settings.replace("store", api_key="wrong")

    with pytest.raises(RefusedError, match="MEMSTREAM_STORE_API_KEY"):
        await create_store(wrong, dimensions=DIMENSIONS).open()


async def test_wrong_address(settings: Settings) -> None:
    """An address that is none is refused before anything is sent."""
    wrong = settings.replace("store", http="somewhere")

    with pytest.raises(UsageError, match="somewhere"):
        await create_store(wrong, dimensions=DIMENSIONS).open()


async def test_other_bucket_count(settings: Settings, store: Any) -> None:
    """A collection made for another number of buckets is refused: users would be looked for in wrong ones."""
    del store
    with pytest.raises(RefusedError, match=r"buckets.*build another one"):
        await create_store(settings.replace("kafka", partitions=2), dimensions=DIMENSIONS).open()


async def test_collection_gone(store: Any) -> None:
    """A collection that somebody deleted is refused, not taken for an empty one."""
    await store._client.collections.delete(store._memories)

    for error in (await every_call(store))[:3]:
        assert isinstance(error, RefusedError)


async def test_alias(settings: Settings, store: Any) -> None:
    """The first generation gets the alias `live`; opening a later one does not move it."""
    names = [collection_name(namespace=settings.kafka.namespace, generation=g) for g in (1, 2)]
    alias = alias_name(namespace=settings.kafka.namespace)
    later: Any = create_store(settings.replace("worker", generation=2), dimensions=DIMENSIONS)
    await later.open()

    assert later._memories == names[1]
    assert (await store._client.alias.get(alias_name=alias)).collection == names[0]
    await later._client.collections.delete([later._memories, later._heads])
    await later.close()


async def test_layout(store: Any) -> None:
    """Only what queries use is indexed, vectors are in a flat index, and every bucket has its tenant from the start."""
    collection = store._client.collections.use(store._memories)
    config = await collection.config.get()

    assert {p.name for p in config.properties if p.index_filterable} == {"tenant", "user_id"}
    assert {p.name for p in config.properties if p.index_searchable} == {"tokens"}
    assert config.vector_index_type.value == "flat"
    assert set(await collection.tenants.get()) == {bucket_name(bucket) for bucket in range(4)}


async def test_split_reading(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with more memories than one page is read in parts, however deep, and whole."""
    monkeypatch.setattr("streams.stores.weaviate_store.PAGE_MEMORIES", 3)
    written = rows(MARIA, 400)
    await store.upsert(written)

    assert await store.memories(MARIA) == [row.memory for row in written]


async def test_more_than_one_message(store: Any) -> None:
    """Memories that together exceed a gRPC message (100 MB) are written and read all the same."""
    written = rows(MARIA, 440, text="x" * 250_000)

    await store.upsert(written)

    assert await store.memories(MARIA) == [row.memory for row in written]
