"""From settings to a store; the only place that knows all of them."""

import warnings
from pathlib import Path

from streams.errors import UsageError
from streams.settings import Settings
from streams.stores.protocol import Store
from topology.keys import buckets_for


def create_store(settings: Settings, *, dimensions: int, creates: bool = True) -> Store:
    """The configured store for the configured generation, not yet open.

    Args:
        settings: where it is, which generation and namespace, how many partitions.
        dimensions: length of the embedder's vectors.
        creates: whether opening makes a SQLite file that is not there; who only reads does not.

    Raises:
        UsageError: the settings do not say where the store is.
    """
    if settings.store.kind == "sqlite":
        from streams.stores.sqlite import SqliteStore

        if not settings.store.path:
            raise UsageError("no SQLite file is configured", next_step="set MEMSTREAM_STORE_PATH")
        return SqliteStore(
            sqlite_file(settings),
            dimensions=dimensions,
            generation=settings.worker.generation,
            timeout=settings.store.timeout,
            creates=creates,
        )
    with warnings.catch_warnings(record=True):  # authlib, which the client imports, warns past any ignore filter
        from streams.stores.weaviate_store import WeaviateStore

    if not settings.store.http or not settings.store.grpc:
        raise UsageError(
            "Weaviate needs a REST and a gRPC address",
            next_step="set MEMSTREAM_STORE_HTTP and MEMSTREAM_STORE_GRPC to host:port, or run `memstream stack up`",
        )
    return WeaviateStore(
        settings.store,
        namespace=settings.kafka.namespace,
        generation=settings.worker.generation,
        buckets=buckets_for(settings.kafka.partitions),
        dimensions=dimensions,
    )


def sqlite_file(settings: Settings) -> Path:
    """The file of a namespace and generation: the configured path for the first of none, others beside it.

    An installation that shared the file of another would take that one's memories for strays, and `verify --repair`
    would delete them.
    """
    path, generation = Path(settings.store.path), settings.worker.generation
    name = path.name if generation == 1 else f"{path.stem}.g{generation}{path.suffix}"
    return path.with_name(settings.kafka.namespace + name)
