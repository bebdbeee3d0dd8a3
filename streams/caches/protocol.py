"""What the shared cache of user versions promises."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from schemas.ids import UserKey


class VersionCache(Protocol):
    """Knows, for each user, the newest revision that the store has.

    Every method but `open` raises `TransientError` when the cache is away. Losing a version is safe: whoever misses it
    asks the store.
    """

    async def open(self) -> None:
        """Connect lazily: a cache that is away does not keep a worker from starting."""

    async def close(self) -> None:
        """Let go of the connection."""

    async def invalidate(self, versions: Mapping[UserKey, int], memory_ids: Mapping[UserKey, AbstractSet[str]]) -> None:
        """Raise users' versions, never lower one, and drop the cached objects of memories that changed."""

    async def versions(self, users: Sequence[UserKey]) -> dict[UserKey, int]:
        """The versions of those of the users that have one."""
