"""What every version cache must do; run against real Redis."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.ids import UserKey
from streams.caches.protocol import VersionCache
from streams.caches.redis_versions import create_version_cache
from streams.errors import TransientError
from streams.settings import Settings
from topology import keys

MARIA, WANG = UserKey("acme", "maria"), UserKey("acme", "王芳 {x}")


@pytest.fixture
async def cache(settings: Settings) -> AsyncIterator[VersionCache]:
    """The Redis cache, open."""
    opened = create_version_cache(settings)
    await opened.open()
    yield opened
    await opened.close()


async def test_versions_are_raised_per_user(cache: VersionCache) -> None:
    """Each user has a version of its own; who was never invalidated has none."""
    await cache.invalidate({MARIA: 3, WANG: 5}, {})

    assert await cache.versions([MARIA, WANG, UserKey("other", "maria")]) == {MARIA: 3, WANG: 5}


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=8))
@hypothesis_settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_version_never_goes_down(settings: Settings, revisions: list[int]) -> None:
    """In whatever order invalidations arrive, the largest revision stays."""
    cache = create_version_cache(settings.replace("worker", generation=1 + abs(hash(tuple(revisions))) % 10**6))
    await cache.open()
    before = (await cache.versions([MARIA])).get(MARIA, -1)
    for revision in revisions:
        await cache.invalidate({MARIA: revision}, {})

    assert await cache.versions([MARIA]) == {MARIA: max(before, *revisions)}
    await cache.close()


async def test_cached_objects_of_changed_memories_are_dropped(cache: VersionCache, settings: Settings) -> None:
    """Those named, however many, and no others."""
    client = redis.Redis.from_url(settings.redis.url)
    ids = [f"m{number}" for number in range(2500)]
    names = {m: keys.cache_object_key(MARIA, m, namespace=settings.kafka.namespace) for m in [*ids, "kept"]}
    await client.mset(dict.fromkeys(names.values(), b"cached"))

    await cache.invalidate({MARIA: 1}, {MARIA: set(ids)})

    assert [m for m, name in names.items() if await client.exists(name)] == ["kept"]
    await client.aclose()


async def test_generations_and_namespaces_do_not_share_versions(settings: Settings) -> None:
    """A shadow generation raises its own versions."""
    first, second = create_version_cache(settings), create_version_cache(settings.replace("worker", generation=2))
    await first.open()
    await second.open()
    await first.invalidate({MARIA: 7}, {})

    assert await second.versions([MARIA]) == {}
    await first.close()
    await second.close()


async def test_a_cache_that_is_away_is_a_passing_failure(settings: Settings) -> None:
    """Opening does not fail, so a worker starts; using it says that it is away."""
    gone = create_version_cache(
        settings.replace("redis", url="redis://127.0.0.1:1/0", timeout=timedelta(milliseconds=200))
    )
    await gone.open()

    with pytest.raises(TransientError, match="Redis"):
        await gone.invalidate({MARIA: 1}, {})
    with pytest.raises(TransientError, match="Redis"):
        await gone.versions([MARIA])
    await gone.close()
