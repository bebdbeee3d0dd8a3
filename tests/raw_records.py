"""Records as the Kafka client hands them out, and batches of them, without a broker."""

from collections.abc import Iterable

from confluent_kafka import Message

from schemas.headers import Headers
from streams.engine.batcher import Part, RawBatch
from streams.engine.chunk import Lease


def raw_record(
    partition: int,
    offset: int,
    value: bytes | None = b"",
    *,
    key: bytes | None = b"default/u",
    headers: Headers | None = None,
    timestamp_ms: int = 1000,
) -> Message:
    """One record."""
    return Message(
        topic="t",
        value=value,
        key=key,
        headers=headers,
        timestamp=(1, timestamp_ms),
        partition=partition,
        offset=offset,
    )


def raw_batch(records: Iterable[Message]) -> RawBatch:
    """A batch of records, each partition under one lease."""
    leases: dict[int, list[Message]] = {}
    for record in records:
        leases.setdefault(record.partition() or 0, []).append(record)
    return RawBatch([Part(Lease(partition, 0), found) for partition, found in leases.items()])
