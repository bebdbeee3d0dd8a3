"""What goes over Weaviate's gRPC: requests, built from the client's own protobufs, and replies.

The client's object path costs 7x the CPU of this (`docs/decisions.md`), and its search sleeps up to 63 s in retries of
its own. The protobufs and the stub are not its public API: the contract tests pin them, and the version is pinned too.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from weaviate.proto.v1 import aggregate_pb2, base_pb2, base_search_pb2, batch_delete_pb2, batch_pb2, search_get_pb2

from schemas.ids import UserKey

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Of one batch; Weaviate takes 100 MB, and smaller ones keep its memory and the event loop even."""

_FILTER = base_pb2.Filters


def exactly(text: str) -> str:
    """A text as a property that must match exactly: in JSON quotes, because Weaviate trims white space at both ends."""
    return msgspec.json.encode(text).decode()


def batch_object(
    *,
    collection: str,
    uuid: str,
    properties: dict[str, str],
    tenant: str = "",
    vector: NDArray[np.float32] | None = None,
) -> Any:
    """One object as it is written whole."""
    written = batch_pb2.BatchObject(
        collection=collection,
        uuid=uuid,
        tenant=tenant,
        vector_bytes=b"" if vector is None else _vector_bytes(vector),
    )
    # Filled in place: messages that are handed to a constructor are copied, at every level (9 us an object, this: 4).
    fields = written.properties.non_ref_properties.fields
    for name, text in properties.items():
        fields[name].string_value = text
    return written


def reindexed(written: Any, *, dimensions: int) -> Any:
    """The object with another vector: writing it before the object itself puts the object into every index again.

    Weaviate does nothing about an equal object, and touches only the indexes of what differs as long as the vector is
    the same. An object with another vector it takes out of all indexes and puts into them under a new number.
    """
    other = batch_pb2.BatchObject()
    other.CopyFrom(written)
    other.vector_bytes = b"" if written.vector_bytes else _vector_bytes(np.eye(1, dimensions, dtype=np.float32)[0])
    return other


def batches(objects: Iterable[Any]) -> Iterator[list[Any]]:
    """Objects in requests of bounded size."""
    batch: list[Any] = []
    size_bytes = 0
    for item in objects:
        size_bytes += item.ByteSize()
        if batch and size_bytes > MAX_REQUEST_BYTES:
            yield batch
            batch, size_bytes = [], item.ByteSize()
        batch.append(item)
    if batch:
        yield batch


def batch_request(objects: Sequence[Any]) -> Any:
    """Write objects, each replacing the one of its UUID."""
    return batch_pb2.BatchObjectsRequest(objects=objects)


def of_user(user: UserKey) -> Any:
    """The filter that every query over memories carries."""
    return _all_of(_equal("tenant", exactly(user.tenant)), _equal("user_id", exactly(user.user_id)))


def of_user_with_ids(user: UserKey, uuids: Sequence[str]) -> Any:
    """The user's objects among these."""
    return _all_of(of_user(user), with_ids(uuids))


def of_user_below(user: UserKey, uuid_prefix: str) -> Any:
    """The user's objects whose UUIDs start so."""
    if not uuid_prefix:
        return of_user(user)
    starts_so = _FILTER(operator=_FILTER.OPERATOR_LIKE, target=_property("_id"), value_text=f"{uuid_prefix}*")
    return _all_of(of_user(user), starts_so)


def with_ids(uuids: Sequence[str]) -> Any:
    """The objects with these UUIDs."""
    return _FILTER(
        operator=_FILTER.OPERATOR_CONTAINS_ANY,
        target=_property("_id"),
        value_text_array=base_pb2.TextArray(values=uuids),
    )


def search_request(
    *,
    collection: str,
    filters: Any,
    limit: int,
    tenant: str = "",
    terms: Sequence[str] = (),
    vector: NDArray[np.float32] | None = None,
) -> Any:
    """Find records: by terms, by vector, or, with neither, by the filter alone."""
    return search_get_pb2.SearchRequest(
        collection=collection,
        tenant=tenant,
        filters=filters,
        limit=limit,
        properties=search_get_pb2.PropertiesRequest(non_ref_properties=["record"]),
        metadata=search_get_pb2.MetadataRequest(score=bool(terms), distance=vector is not None),
        bm25_search=base_search_pb2.BM25(query=" ".join(terms), properties=["tokens"]) if terms else None,
        near_vector=None if vector is None else base_search_pb2.NearVector(vector_bytes=_vector_bytes(vector)),
        uses_123_api=True,  # the reply's present form; without these the server answers as it did years ago
        uses_125_api=True,
        uses_127_api=True,
    )


def records(reply: Any) -> Iterator[tuple[bytes, Any]]:
    """The records a search found, each with its metadata (`score`, `distance`)."""
    for result in reply.results:
        yield result.properties.non_ref_props.fields["record"].text_value.encode(), result.metadata


def delete_request(*, collection: str, tenant: str, filters: Any) -> Any:
    """Delete what the filter matches, at most QUERY_MAXIMUM_RESULTS (10,000) objects."""
    return batch_delete_pb2.BatchDeleteRequest(collection=collection, tenant=tenant, filters=filters)


def count_request(*, collection: str, tenant: str) -> Any:
    """Count a tenant's objects."""
    return aggregate_pb2.AggregateRequest(collection=collection, tenant=tenant, objects_count=True)


def _vector_bytes(vector: NDArray[np.float32]) -> bytes:
    return vector.astype("<f4").tobytes()


def _property(name: str) -> Any:
    return base_pb2.FilterTarget(property=name)


def _equal(name: str, text: str) -> Any:
    return _FILTER(operator=_FILTER.OPERATOR_EQUAL, target=_property(name), value_text=text)


def _all_of(*filters: Any) -> Any:
    return _FILTER(operator=_FILTER.OPERATOR_AND, filters=filters)
