"""Stage 6 of 6, invalidate: cached state older than the store is made unreachable.

A user's version in Redis is the newest revision that the store is known to have; what is derived carries it in its key,
so raising it orphans all of that at once. Objects are dropped by key.
"""

from dataclasses import dataclass, field

from schemas.ids import UserKey
from schemas.indexed import Indexed
from streams.caches.protocol import VersionCache
from streams.caches.redis_versions import create_version_cache
from streams.clock import Clock
from streams.engine.stage import Decision, MicroBatch, StatelessStage
from streams.settings import Settings
from topology import graph


@dataclass
class Invalidation:
    """What one batch does to the cache.

    Attributes:
        versions: user to the newest revision the store has.
        memory_ids: user to the memories that changed.
    """

    versions: dict[UserKey, int] = field(default_factory=dict)
    memory_ids: dict[UserKey, set[str]] = field(default_factory=dict)


class Invalidate(StatelessStage):
    """Indexed notices to raised versions."""

    spec = graph.stage(graph.StageName.INVALIDATE)

    def __init__(self, cache: VersionCache) -> None:
        self._cache = cache

    async def open(self) -> None:
        """Connect the cache."""
        await self._cache.open()

    async def close(self) -> None:
        """Let go of the cache."""
        await self._cache.close()

    async def decide(self, batch: MicroBatch[Indexed]) -> Decision:
        """The newest version of each user of the batch."""
        invalidation = Invalidation()
        for record in batch.records:
            for indexed in record.event.users:
                user = UserKey(indexed.tenant, indexed.user_id)
                invalidation.versions[user] = max(invalidation.versions.get(user, 0), indexed.revision)
                invalidation.memory_ids.setdefault(user, set()).update(indexed.memory_ids)
        return Decision(effect=invalidation if invalidation.versions else None)

    async def perform(self, effect: Invalidation) -> None:
        """Drop objects, then raise versions; both may be done again."""
        await self._cache.invalidate(effect.versions, effect.memory_ids)


def create(settings: Settings, clock: Clock) -> Invalidate:  # noqa: ARG001  (all stages are made alike)
    """The stage as the worker runs it."""
    return Invalidate(create_version_cache(settings))
