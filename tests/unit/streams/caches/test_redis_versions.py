"""Where Redis is, by the settings."""

import pytest

from streams.caches.redis_versions import create_version_cache
from streams.errors import UsageError
from streams.settings import Settings


@pytest.mark.parametrize("url", ["redis://host", "redis://:secret@host:1/2", "rediss://host:1/0", "unix:///run/redis"])
def test_every_form_of_address_is_taken(url: str) -> None:
    """A host, a host with TLS, a socket."""
    create_version_cache(Settings().replace("redis", url=url))


@pytest.mark.parametrize(
    "url", ["", "nonsense", "host:6379", "http://host:1", "redis://user:secret", "redis://h:1?db=x"]
)
def test_what_is_no_address_is_refused_with_the_forms_that_are(url: str) -> None:
    """Wrong use, found before anything connects; nothing of what may be a password is shown."""
    with pytest.raises(UsageError) as refused:
        create_version_cache(Settings().replace("redis", url=url))
    assert "redis://host:port/db, rediss://host:port/db (TLS) or unix://path" in refused.value.next_step
    assert "secret" not in str(refused.value)
