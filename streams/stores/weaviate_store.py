"""The production store: Weaviate, one collection a generation, hash buckets of users as its tenants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar

import numpy as np
import weaviate
from grpc import StatusCode
from grpc.aio import AioRpcError
from numpy.typing import NDArray
from weaviate.classes.init import AdditionalConfig, Auth, GrpcConfig, Timeout

from schemas.codec import Codec
from schemas.ids import UserKey, derive
from schemas.memory import Head, Memory
from streams.errors import BugError, MemstreamError, RefusedError, TransientError, UsageError
from streams.settings import StoreSettings
from streams.stores import weaviate_wire as wire
from streams.stores.protocol import Hit, Legs, StoreRow
from streams.stores.rows import check_vector, decode_memory, in_order, is_memory_id, newest_heads, newest_rows
from streams.stores.terms import terms_of
from streams.stores.weaviate_errors import call_error, object_error
from streams.stores.weaviate_layout import heads_collection_name, prepare
from topology.keys import bucket_name, bucket_of, collection_name

T = TypeVar("T")

MEMORIES: Codec[Memory] = Codec(Memory, "json")
HEADS: Codec[Head] = Codec(Head, "json")

RETRY_DELAYS_S = (0.05, 0.2, 0.8)
"""Before each retry of the objects of a batch that were not written; about 1 s in all, well inside any timeout."""

MAX_IDS = 1_000
"""Ids in one filter, and so objects in one delete: far below QUERY_MAXIMUM_RESULTS (10,000)."""

PAGE_MEMORIES = 2_000
"""Read at once; more than that, or more than fits a gRPC message, is read in sixteen parts."""

KNOWN_HEAD_S = 3.0
"""Half the shortest session timeout that brokers allow (6 s): a worker that stood still for longer says nothing to the
store before it knows what it has lost (`streams.engine.pauses`), so nobody else can have written a head meanwhile."""

MAX_KNOWN_HEADS = 50_000
"""Users of whom it is known for a while which head the store has."""

MAX_UNANSWERED = 100_000
"""Objects whose write had no answer, of which that is remembered: six times what an index stage has in flight."""

MAX_UUID_PREFIX = 8
"""Digits before a UUID's first hyphen: enough to cut eight trillion memories into pages."""


class WeaviateStore:
    """One generation of memories and heads in Weaviate.

    Guarantees: when a write returns, Weaviate has acknowledged every object, and they survive a kill of the server,
    with all that finds them (`_write`); whether they survive a power cut is up to Weaviate.

    A write that had no answer, since the server was killed, may have left objects that are in some indexes and not in
    others, and writing them again changes nothing (276 of 1,200 seen). So this object remembers what had no answer, and
    writes that with `reindexed` ahead when it is asked to write it again. Whoever does not know what had no answer, as
    whoever mends a store, calls `rewrite`.

    Not promised: there is no compare-and-set. The last writer of a memory wins, also with an older revision.
    Heads are compared with what is there before they are written, which is not atomic; a user has one writer at a time,
    and that makes it enough. What this object wrote less than `KNOWN_HEAD_S` ago it does not read again.
    `memories` and `search` are not one state of the store while somebody writes; whoever loads a user compares with the
    head. BM25 weighs a term by how rare it is in the user's whole bucket, so strangers move scores, though never what
    is found.

    No call relies on the client's retries. Every call has one deadline, its retries included.

    Args:
        settings: addresses, key, timeout.
        namespace: of the installation, part of every name.
        generation: which derived view.
        buckets: how many tenants the generation has.
        dimensions: length of every vector.
    """

    refuses_older_revisions: ClassVar[bool] = False

    def __init__(
        self, settings: StoreSettings, *, namespace: str, generation: int, buckets: int, dimensions: int
    ) -> None:
        self.address = settings.http
        self._settings = settings
        self._namespace = namespace
        self._generation = generation
        self._buckets = buckets
        self._dimensions = dimensions
        self._memories = collection_name(namespace=namespace, generation=generation)
        self._heads = heads_collection_name(namespace=namespace, generation=generation)
        self._timeout_s = settings.timeout.total_seconds()
        self._client: Any = None
        self._known_heads: dict[UserKey, tuple[int, float]] = {}
        self._unanswered: dict[str, None] = {}  # UUIDs, oldest first

    async def open(self) -> None:
        """See `Store.open`.

        Raises:
            UsageError: an address is not `host:port`.
        """
        if self._client is not None:
            return
        client = _new_client(self._settings)
        try:
            async with self._deadline():
                await client.connect()
                await prepare(
                    client,
                    dimensions=self._dimensions,
                    buckets=self._buckets,
                    namespace=self._namespace,
                    generation=self._generation,
                )
        except BaseException:
            await client.close()
            raise
        self._client = client

    async def close(self) -> None:
        """See `Store.close`."""
        if self._client is not None:
            await self._client.close()
            self._client = None
            self._known_heads.clear()
            self._unanswered.clear()

    async def upsert(self, rows: Sequence[StoreRow], *, heads: Sequence[Head] = ()) -> None:
        """See `Store.upsert`. One request for all buckets; after an error some rows may be written, and others not.

        The order of objects is that of their users, and a request goes over all buckets: 16 requests for 600 rows, one
        a bucket, took a tenth to a fifth more of Weaviate's processor time and a quarter more of ours.
        """
        await self._write_all(rows, heads, anew=False)

    async def rewrite(self, rows: Sequence[StoreRow], *, heads: Sequence[Head] = ()) -> None:
        """See `Store.rewrite`. Each object is written twice (276 objects: 63 ms; deleted first by UUID: 1.5 s)."""
        await self._write_all(rows, heads, anew=True)

    async def delete(self, user: UserKey, memory_ids: Sequence[str]) -> None:
        """See `Store.delete`."""
        async with self._deadline():
            for uuids in _chunks(memory_ids):
                request = wire.delete_request(
                    collection=self._memories, tenant=self._bucket(user), filters=wire.of_user_with_ids(user, uuids)
                )
                reply = await self._call("BatchDelete", request)
                if reply.failed:
                    # asked to name the reasons, 1.39 fails to answer at all when there is one
                    raise TransientError(f"Weaviate at {self.address} did not erase {reply.failed} memories")

    def _known_revision(self, user: UserKey, now_s: float) -> int | None:
        """The revision of the head that the store has, if this object wrote it a moment ago."""
        revision, written_at_s = self._known_heads.get(user, (None, now_s))
        return revision if now_s - written_at_s < KNOWN_HEAD_S else None

    async def heads(self, users: Sequence[UserKey]) -> dict[UserKey, Head]:
        """See `Store.heads`."""
        async with self._deadline():
            return await self._stored_heads(users)

    async def memories(self, user: UserKey) -> list[Memory]:
        """See `Store.memories`."""
        async with self._deadline():
            found = await self._memories_below(user, "")
        return sorted(found, key=lambda memory: memory.revision)

    async def get(self, user: UserKey, memory_ids: Sequence[str]) -> list[Memory]:
        """See `Store.get`."""
        found: dict[str, Memory] = {}
        async with self._deadline():
            for uuids in _chunks(memory_ids):
                hits = await self._find(user, filters=wire.of_user_with_ids(user, uuids), limit=len(uuids))
                found |= {memory.memory_id: memory for memory, _ in hits}
        return in_order(found, memory_ids)

    async def search(self, user: UserKey, *, tokens: Sequence[str], vector: NDArray[np.float32], limit: int) -> Legs:
        """See `Store.search`."""
        check_vector(vector, dimensions=self._dimensions)
        async with self._deadline():
            lexical, nearest = await _all(
                (self._lexical(user, terms_of(tokens), limit), self._nearest(user, vector, limit))
            )
        return Legs(lexical=lexical, vector=nearest)

    async def count(self) -> int:
        """See `Store.count`."""
        async with self._deadline():
            replies = await _all(
                self._call("Aggregate", wire.count_request(collection=self._memories, tenant=bucket_name(bucket)))
                for bucket in range(self._buckets)
            )
        return sum(reply.single_result.objects_count for reply in replies)

    async def _lexical(self, user: UserKey, terms: list[str], limit: int) -> list[Hit]:
        if not terms:
            return []
        hits = await self._find(user, filters=wire.of_user(user), limit=limit, terms=terms)
        return [Hit(memory=memory, score=metadata.score) for memory, metadata in hits]

    async def _nearest(self, user: UserKey, vector: NDArray[np.float32], limit: int) -> list[Hit]:
        if not vector.any():
            return []
        hits = await self._find(user, filters=wire.of_user(user), limit=limit, vector=vector)
        return [Hit(memory=memory, score=1.0 - metadata.distance) for memory, metadata in hits]

    async def _memories_below(self, user: UserKey, uuid_prefix: str) -> list[Memory]:
        """The user's memories whose ids start so.

        Weaviate pages no further than QUERY_MAXIMUM_RESULTS, and its cursor takes no filter. Ids are hashes, so their
        next digit cuts whatever is too much into sixteen parts of about the same size.
        """
        try:
            hits = await self._find(user, filters=wire.of_user_below(user, uuid_prefix), limit=PAGE_MEMORIES)
        except AioRpcError as error:
            if error.code() is not StatusCode.RESOURCE_EXHAUSTED:
                raise
        else:
            if len(hits) < PAGE_MEMORIES:
                return [memory for memory, _ in hits]
        if len(uuid_prefix) == MAX_UUID_PREFIX:
            raise RefusedError(f"memories with ids from {uuid_prefix} on are too large to be read from Weaviate")
        parts = [await self._memories_below(user, uuid_prefix + digit) for digit in "0123456789abcdef"]
        return [memory for part in parts for memory in part]

    async def _find(self, user: UserKey, **query: Any) -> list[tuple[Memory, Any]]:
        request = wire.search_request(collection=self._memories, tenant=self._bucket(user), **query)
        reply = await self._call("Search", request)
        found = [(decode_memory(MEMORIES, record), metadata) for record, metadata in wire.records(reply)]
        if any(memory.user != user for memory, _ in found):
            raise BugError("a search within one user found another's memory")
        return found

    async def _stored_heads(self, users: Sequence[UserKey]) -> dict[UserKey, Head]:
        stored: dict[UserKey, Head] = {}
        for uuids in _chunks([_head_uuid(user) for user in users]):
            request = wire.search_request(collection=self._heads, filters=wire.with_ids(uuids), limit=len(uuids))
            for record, _ in wire.records(await self._call("Search", request)):
                head = HEADS.decode(record)
                stored[head.user] = head
        return stored

    async def _write_all(self, rows: Sequence[StoreRow], heads: Sequence[Head], *, anew: bool) -> None:
        newest = newest_rows(rows, dimensions=self._dimensions)
        objects = [item for user, of_user in newest.items() for item in self._objects(user, of_user.values())]
        async with self._deadline():
            await _all(self._write(batch, anew=anew) for batch in wire.batches(objects))
        if heads:
            await self._write_heads(heads, anew=anew)

    async def _write(self, objects: list[Any], *, anew: bool = False) -> None:
        """Write one request's objects, and again into every index those that may be in some of them only."""
        doubtful = objects if anew else []
        if self._unanswered and not anew:
            doubtful = [item for item in objects if item.uuid in self._unanswered]
        try:
            if doubtful:
                await self._send([wire.reindexed(item, dimensions=self._dimensions) for item in doubtful])
            await self._send(objects)
            # The newest vectors of a bucket are in Weaviate's memory only, until the next request to it: an equal
            # object is enough for that. Heads are in no bucket and have no vectors.
            await self._send(list({item.tenant: item for item in objects if item.tenant}.values()))
        except BaseException:
            self._unanswered |= dict.fromkeys(item.uuid for item in objects)
            for uuid in list(self._unanswered)[:-MAX_UNANSWERED]:
                del self._unanswered[uuid]
            raise
        for item in doubtful:
            self._unanswered.pop(item.uuid, None)

    async def _send(self, objects: list[Any]) -> None:
        """Send one request; objects that fail are tried again, and only those."""
        for delay_s in (*RETRY_DELAYS_S, None):
            if not objects:
                return
            errors = (await self._call("BatchObjects", wire.batch_request(objects))).errors
            if not errors:
                return
            if delay_s is None:
                raise object_error((error.error for error in errors), address=self.address)
            objects = [objects[error.index] for error in errors]
            await asyncio.sleep(delay_s)

    async def _write_heads(self, heads: Sequence[Head], *, anew: bool) -> None:
        newest = newest_heads(heads)
        now_s = asyncio.get_running_loop().time()
        known = {user: revision for user in newest if (revision := self._known_revision(user, now_s)) is not None}
        async with self._deadline():
            stored = await self._stored_heads([user for user in newest if user not in known])
            revisions = {user: head.revision for user, head in stored.items()} | known
            newer = {user: head for user, head in newest.items() if head.revision >= revisions.get(user, 0)}
            for user in newer:
                self._known_heads.pop(user, None)  # unknown again, until all of this is written
            await self._write(
                [
                    wire.batch_object(
                        collection=self._heads,
                        uuid=_head_uuid(user),
                        properties={"record": HEADS.encode(head).decode()},
                    )
                    for user, head in newer.items()
                ],
                anew=anew,
            )
        if len(self._known_heads) + len(newer) > MAX_KNOWN_HEADS:
            self._known_heads.clear()
        self._known_heads |= {user: (head.revision, now_s) for user, head in newer.items()}

    def _objects(self, user: UserKey, rows: Iterable[StoreRow]) -> list[Any]:
        bucket = self._bucket(user)
        whose = {"tenant": wire.exactly(user.tenant), "user_id": wire.exactly(user.user_id)}
        return [
            wire.batch_object(
                collection=self._memories,
                tenant=bucket,
                uuid=row.memory.memory_id,
                properties={
                    **whose,
                    "tokens": " ".join(terms_of(row.tokens)),
                    "record": MEMORIES.encode(row.memory).decode(),
                },
                vector=row.vector if row.vector.any() else None,
            )
            for row in rows
        ]

    def _bucket(self, user: UserKey) -> str:
        return bucket_name(bucket_of(user, self._buckets))

    async def _call(self, method: str, request: Any) -> Any:
        """One gRPC call through the client's stub, past the client's own retries."""
        if self._client is None:
            raise BugError("the store is not open")
        connection = self._client._connection  # noqa: SLF001  pinned by tests/contract/test_store.py
        call = getattr(connection.grpc_stub, method)
        return await call(request, metadata=connection.grpc_headers(), timeout=self._timeout_s)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        """Bound everything in it by one timeout, and say what its errors mean."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except MemstreamError:
            raise
        except Exception as error:
            raise call_error(error, address=self.address) from error


def _new_client(settings: StoreSettings) -> Any:
    http_host, _, http_port = settings.http.rpartition(":")
    grpc_host, _, grpc_port = settings.grpc.rpartition(":")
    timeout_s = settings.timeout.total_seconds()
    config = AdditionalConfig(
        timeout=Timeout(init=timeout_s, query=timeout_s, insert=timeout_s),
        # gRPC would wait up to 2 minutes before it looks again for a server that was away
        grpc_config=GrpcConfig(channel_options=[("grpc.max_reconnect_backoff_ms", 1_000)]),
    )
    try:
        return weaviate.use_async_with_custom(
            http_host=http_host,
            http_port=int(http_port),
            http_secure=False,
            grpc_host=grpc_host,
            grpc_port=int(grpc_port),
            grpc_secure=False,
            auth_credentials=Auth.api_key(settings.api_key) if settings.api_key else None,
            additional_config=config,
            skip_init_checks=True,  # they ask PyPI for the newest client
        )
    except ValueError as error:
        raise UsageError(
            f"no address of Weaviate: {settings.http!r} and {settings.grpc!r}",
            next_step="set MEMSTREAM_STORE_HTTP and MEMSTREAM_STORE_GRPC to two different host:port",
        ) from error


def _head_uuid(user: UserKey) -> str:
    return derive("head", user.tenant, user.user_id)


def _chunks(memory_ids: Sequence[str]) -> list[list[str]]:
    """Ids in filters of bounded size; what is no memory id is in no store."""
    uuids = [memory_id for memory_id in dict.fromkeys(memory_ids) if is_memory_id(memory_id)]
    return [uuids[start : start + MAX_IDS] for start in range(0, len(uuids), MAX_IDS)]


async def _all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Await calls at once; when one fails, all have ended before its error is raised."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # no exception is left in it
