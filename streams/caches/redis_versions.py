"""User versions in Redis. Commands of Redis 6.2 only."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import redis.asyncio as redis
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

from schemas.ids import UserKey
from streams.errors import TransientError, UsageError
from streams.settings import Settings
from topology import keys

_RAISE_VERSION = """
local current = tonumber(redis.call('GET', KEYS[1]) or '-1')
if tonumber(ARGV[1]) > current then
    redis.call('SET', KEYS[1], ARGV[1])
end
if #KEYS > 1 then
    redis.call('UNLINK', unpack(KEYS, 2))
end
"""
"""One user: drop the objects and raise the version in one step; a version never goes down."""

_OBJECTS_AT_ONCE = 1000
"""Lua's `unpack` takes some thousand values; more objects are dropped in several steps."""


class RedisVersions:
    """Keeps user versions in Redis.

    Args:
        settings: where Redis is, and the namespace and generation of the keys.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: redis.Redis | None = None

    async def open(self) -> None:
        """Connect lazily: a cache that is away does not keep a worker from starting."""
        timeout_s = self._settings.redis.timeout.total_seconds()
        self._client = redis.Redis.from_url(
            self._settings.redis.url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        self._raise_version = self._client.register_script(_RAISE_VERSION)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def invalidate(self, versions: Mapping[UserKey, int], memory_ids: Mapping[UserKey, AbstractSet[str]]) -> None:
        """Raise users' versions, never lower one, and drop the cached objects of memories that changed."""
        client = self._connected()
        try:
            async with client.pipeline(transaction=False) as pipeline:
                for user, revision in versions.items():
                    objects = [self._object_key(user, memory_id) for memory_id in memory_ids.get(user, ())]
                    for start in range(0, max(len(objects), 1), _OBJECTS_AT_ONCE):
                        await self._raise_version(
                            keys=[self._version_key(user), *objects[start : start + _OBJECTS_AT_ONCE]],
                            args=[revision],
                            client=pipeline,
                        )
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise TransientError(f"Redis: {error}") from error

    async def versions(self, users: Sequence[UserKey]) -> dict[UserKey, int]:
        """The versions of those of the users that have one."""
        if not users:
            return {}
        try:
            found = await self._connected().mget([self._version_key(user) for user in users])
        except (RedisError, OSError, TimeoutError) as error:
            raise TransientError(f"Redis: {error}") from error
        return {user: int(value) for user, value in zip(users, found, strict=True) if value is not None}

    def _connected(self) -> redis.Redis:
        assert self._client is not None, "open() comes first"
        return self._client

    def _version_key(self, user: UserKey) -> str:
        kafka, worker = self._settings.kafka, self._settings.worker
        return keys.cache_version_key(user, namespace=kafka.namespace, generation=worker.generation)

    def _object_key(self, user: UserKey, memory_id: str) -> str:
        kafka, worker = self._settings.kafka, self._settings.worker
        return keys.cache_object_key(user, memory_id, namespace=kafka.namespace, generation=worker.generation)


def create_version_cache(settings: Settings) -> RedisVersions:
    """The cache that the settings name.

    Raises:
        UsageError: the settings do not say where Redis is.
    """
    try:
        parse_url(settings.redis.url)
    except ValueError:  # it may quote a part of the password: only the forms are told
        raise UsageError(
            "redis.url says no place of a Redis" if settings.redis.url else "no Redis is configured",
            next_step="set MEMSTREAM_REDIS_URL to redis://host:port/db, rediss://host:port/db (TLS) or unix://path",
        ) from None
    return RedisVersions(settings)
