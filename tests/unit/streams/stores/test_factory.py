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


def test_a_file_for_each_generation() -> None:
    """The first generation has the configured file; later ones stand beside it."""
    path = Path("data/memories.db")

    assert sqlite_file(path, generation=1) == path
    assert sqlite_file(path, generation=3) == Path("data/memories.g3.db")
