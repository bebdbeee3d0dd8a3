"""What every store does to rows before writing and to records after reading: the shared part of the contract."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.codec import Codec, DecodeError
from schemas.ids import UserKey
from schemas.memory import Head, Memory
from streams.errors import RefusedError
from streams.stores.protocol import StoreRow

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def newest_rows(rows: Iterable[StoreRow], *, dimensions: int) -> dict[UserKey, dict[str, StoreRow]]:
    """The last row of each memory, grouped by user.

    Raises:
        RefusedError: a vector has another length than the store's, or a memory id is no UUID in canonical form.
    """
    newest: dict[UserKey, dict[str, StoreRow]] = {}
    for row in rows:
        if not is_memory_id(row.memory.memory_id):
            raise RefusedError(
                f"memory id {row.memory.memory_id!r} is no UUID in canonical form; derive it with schemas.ids"
            )
        check_vector(row.vector, dimensions=dimensions)
        newest.setdefault(row.memory.user, {})[row.memory.memory_id] = row
    return newest


def newest_heads(heads: Iterable[Head]) -> dict[UserKey, Head]:
    """The newest head of each user."""
    newest: dict[UserKey, Head] = {}
    for head in heads:
        known = newest.get(head.user)
        if known is None or head.revision >= known.revision:
            newest[head.user] = head
    return newest


def check_vector(vector: NDArray[np.float32], *, dimensions: int) -> None:
    """Refuse a vector that would not fit the others.

    Raises:
        RefusedError: it has another length.
    """
    if vector.shape != (dimensions,):
        raise RefusedError(
            f"a vector has shape {vector.shape}, this store holds ({dimensions},): "
            "use the embedder that the generation was built with, or build another one (worker.generation)"
        )


def is_memory_id(text: str) -> bool:
    """Whether a store can hold a memory under this id: Weaviate knows objects by UUID, and so do we everywhere."""
    return _CANONICAL_UUID.fullmatch(text) is not None


def in_order(memories: Mapping[str, Memory], memory_ids: Sequence[str]) -> list[Memory]:
    """Those of the memories that were asked for, in the order asked for."""
    return [memories[memory_id] for memory_id in memory_ids if memory_id in memories]


def decode_memory(codec: Codec[Memory], raw: bytes) -> Memory:
    """The memory in a stored record.

    Raises:
        RefusedError: it was written by a newer version, or by something else.
    """
    try:
        return codec.decode(raw)
    except DecodeError as error:
        raise RefusedError(
            f"a stored memory cannot be read ({error}): upgrade this process, or delete the store, and index builds it"
            " again from the log"
        ) from error
