"""From settings to a store."""

from pathlib import Path

import pytest

from streams.errors import UsageError
from streams.settings import Settings
from streams.stores.factory import create_store, sqlite_file


@pytest.mark.parametrize("kind", ["sqlite", "weaviate"])
def test_nowhere(kind: str) -> None:
    """Settings that do not say where the store is are the caller's mistake, with the names of what to set."""
    with pytest.raises(UsageError) as caught:
        create_store(Settings().replace("store", kind=kind), dimensions=8)

    assert "MEMSTREAM_STORE_" in caught.value.next_step


def test_a_file_for_each_namespace_and_generation() -> None:
    """The first generation without a namespace has the configured file; others stand beside it."""
    settings = Settings().replace("store", path="data/memories.db")
    later = settings.replace("worker", generation=3)

    assert sqlite_file(settings) == Path("data/memories.db")
    assert sqlite_file(later) == Path("data/memories.g3.db")
    assert sqlite_file(settings.replace("kafka", namespace="staging.")) == Path("data/staging.memories.db")
    assert sqlite_file(later.replace("kafka", namespace="staging.")) == Path("data/staging.memories.g3.db")
