"""How everything is partitioned and named: partitions, store buckets, cache keys, generations.

One hash for all: murmur2 as in Kafka's Java client. librdkafka's default partitioner differs from it (the two agreed on
41 of 200 keys with 4 partitions), so every producer of ours says `partitioner=murmur2` or names the partition itself.
"""

from functools import lru_cache

from schemas.ids import UserKey

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """The 32-bit hash of Kafka's default partitioner, sign bit cleared.

    Source: `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`; checked against librdkafka in
    `tests/contract`.
    """
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = data[i] | data[i + 1] << 8 | data[i + 2] << 16 | data[i + 3] << 24
        k = k * _M & _MASK
        k ^= k >> 24
        k = k * _M & _MASK
        h = h * _M & _MASK ^ k
    rest = length - whole
    if rest == 3:
        h ^= data[whole + 2] << 16
    if rest >= 2:
        h ^= data[whole + 1] << 8
    if rest >= 1:
        h ^= data[whole]
        h = h * _M & _MASK
    h ^= h >> 13
    h = h * _M & _MASK
    h ^= h >> 15
    return h & 0x7FFFFFFF


def user_key_bytes(user: UserKey) -> bytes:
    """The key of a user's records."""
    return str(user).encode()


def window_key_bytes(user: UserKey, conversation_id: str) -> bytes:
    """The key of one conversation's window; it is compacted per conversation but stands in the user's partition."""
    return user_key_bytes(user) + b"\x00" + conversation_id.encode()


@lru_cache(maxsize=1 << 16)
def partition_of(user: UserKey, partitions: int) -> int:
    """The partition of a user, on every pipeline topic."""
    return murmur2(user_key_bytes(user)) % partitions


BUCKETS_PER_PARTITION = 4
"""So that 4 partitions give the 16 buckets that were measured (`docs/decisions.md`) and 12 give 48."""


def bucket_of(user: UserKey, buckets: int) -> int:
    """The store bucket of a user: buckets are a multiple of the partitions, so a micro-batch touches few of them."""
    return murmur2(user_key_bytes(user)) % buckets


def buckets_for(partitions: int) -> int:
    """How many store buckets a generation over that many partitions gets; fixed for its life."""
    return partitions * BUCKETS_PER_PARTITION


def bucket_name(bucket: int) -> str:
    """A bucket as a Weaviate tenant."""
    return f"bucket-{bucket:04d}"


def collection_name(*, namespace: str = "", generation: int = 1) -> str:
    """A generation's collection in the store. Weaviate wants a capital first and letters, digits, underscores."""
    return f"Memory_{_identifier(namespace)}g{generation}"


def alias_name(*, namespace: str = "") -> str:
    """The alias that points to the live generation's collection."""
    return f"Memory_{_identifier(namespace)}live"


def _identifier(namespace: str) -> str:
    # Letters and digits stand for themselves, anything else for its code: two namespaces never share a collection.
    escaped = "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in namespace)
    return f"{escaped}_" if escaped else ""


def cache_version_key(user: UserKey, *, namespace: str = "", generation: int = 1) -> str:
    """Redis: the user's version, which is the newest revision that the store is known to have.

    The braces keep all keys of one user in one slot of a Redis cluster.
    """
    return f"{namespace}memstream:g{generation}:version:{{{user}}}"


def cache_object_key(user: UserKey, memory_id: str, *, namespace: str = "", generation: int = 1) -> str:
    """Redis: one memory of a user."""
    return f"{namespace}memstream:g{generation}:memory:{{{user}}}:{memory_id}"


def transactional_id(stage: str, instance: str, *, namespace: str = "", generation: int = 1) -> str:
    """One transactional producer per stage and process; a restart under the same name aborts its predecessor."""
    return f"{namespace}memstream.g{generation}.{stage}.{instance}"
