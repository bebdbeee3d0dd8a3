"""What stands in Weaviate: collections, tenants, alias, and their check at every open.

- One collection of memories a generation, multi-tenant: its tenants are hash buckets of users. The vector index is
  flat: searches are always within one user, so a global HNSW index would only slow writes (6x).
- Only what queries use is indexed: `tenant` and `user_id` (exact), `tokens` (BM25). The memory itself is the unindexed
  `record`, as JSON: smaller than MessagePack in base64, and readable in any console.
- Heads are a second collection, without vectors and without tenants, so that the heads of a whole micro-batch are one
  read and one write, in whatever buckets their users are.
- The description of a collection carries what it was made for; any other is refused.
"""

from typing import Any

import msgspec
from weaviate import exceptions as client_errors

from streams.errors import RefusedError
from topology.keys import alias_name, bucket_name, collection_name

SCHEMA_VERSION = 1
"""Raised with every change of the properties or indexes below."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection says about itself in its description.

    Attributes:
        schema: `SCHEMA_VERSION` of the code that made it.
        dimensions: length of every vector.
        buckets: how many tenants; which user is in which depends on it.
    """

    schema: int
    dimensions: int
    buckets: int


def heads_collection_name(*, namespace: str, generation: int) -> str:
    """The collection of a generation's heads."""
    return f"{collection_name(namespace=namespace, generation=generation)}_heads"


async def prepare(client: Any, *, dimensions: int, buckets: int, namespace: str, generation: int) -> None:
    """Create or check collections, tenants and alias; several processes may do so at once.

    The alias `live` is made once, for the first generation; moving it is the business of a cut-over.

    Raises:
        RefusedError: a collection is of another schema version, vector length or bucket count.
    """
    layout = Layout(schema=SCHEMA_VERSION, dimensions=dimensions, buckets=buckets)
    memories = collection_name(namespace=namespace, generation=generation)
    heads = heads_collection_name(namespace=namespace, generation=generation)
    await _ensure_collection(client, _memories_schema(memories, layout), layout)
    await _ensure_collection(client, _heads_schema(heads, layout), layout)
    tenants = client.collections.use(memories).tenants
    missing = {bucket_name(bucket) for bucket in range(buckets)} - set(await tenants.get())
    if missing:
        await tenants.create(sorted(missing))
    alias = alias_name(namespace=namespace)
    if await client.alias.get(alias_name=alias) is None:
        await _unless_there(client.alias.create(alias_name=alias, target_collection=memories))


async def _ensure_collection(client: Any, schema: dict[str, Any], layout: Layout) -> None:
    name = schema["class"]
    if not await client.collections.exists(name):
        await _unless_there(client.collections.create_from_dict(schema))
    description = (await client.collections.use(name).config.get(simple=True)).description or ""
    try:
        found = msgspec.json.decode(description, type=Layout)
    except msgspec.MsgspecError:
        raise RefusedError(
            f"Weaviate has a collection {name} that memstream did not make: set another MEMSTREAM_KAFKA_NAMESPACE"
        ) from None
    if found != layout:
        raise RefusedError(
            f"collection {name} was made for {found}, this process is set to {layout}: "
            "configure what it was made for (memstream version, embedder, partitions), or build another one"
            " (worker.generation)"
        )


async def _unless_there(creation: Any) -> None:
    """Create something that another process may be creating as well."""
    try:
        await creation
    except client_errors.UnexpectedStatusCodeError as error:
        if "already exists" not in str(error):
            raise


def _memories_schema(name: str, layout: Layout) -> dict[str, Any]:
    return _schema(
        name,
        layout,
        vectorIndexType="flat",
        vectorIndexConfig={"distance": "cosine"},
        multiTenancyConfig={"enabled": True, "autoTenantCreation": True},
        properties=[
            _text("tenant", tokenization="field", indexFilterable=True),
            _text("user_id", tokenization="field", indexFilterable=True),
            _text("tokens", tokenization="whitespace", indexSearchable=True),
            _text("record"),
        ],
    )


def _heads_schema(name: str, layout: Layout) -> dict[str, Any]:
    return _schema(name, layout, vectorIndexConfig={"skip": True}, properties=[_text("record")])


def _schema(name: str, layout: Layout, **more: Any) -> dict[str, Any]:
    return {
        "class": name,
        "description": msgspec.json.encode(layout).decode(),
        "vectorizer": "none",
        "invertedIndexConfig": {"stopwords": {"preset": "none"}, "bm25": {"k1": 1.2, "b": 0.75}},
        **more,
    }


def _text(name: str, *, tokenization: str = "field", **indexes: bool) -> dict[str, Any]:
    """A text property, in no index that is not named."""
    return {
        "name": name,
        "dataType": ["text"],
        "tokenization": tokenization,
        "indexFilterable": False,
        "indexSearchable": False,
        **indexes,
    }
