"""What the Kafka client hands out for one record, made safe and typed: whatever somebody wrote, it can be read.

Anybody may write to `conversation.events`. A record that takes the process down while it is only looked at would do so
in every worker, for ever.
"""

import operator
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from confluent_kafka import Message

from schemas.headers import RawHeaders

log = structlog.get_logger("memstream.engine")

_look: Callable[[Message], RawHeaders | None] = operator.methodcaller("headers")
"""`message.headers()` such that what it leaves behind is noticed at once. A call that Python code has made a few times
over is specialized and no longer checked (CPython 3.11): then the exception comes up somewhere else."""

_LATEST_MS = 253_402_300_799_000
"""The last second of the year 9999, behind which Python has no time; a broker may accept any 64-bit number."""


def headers_of(message: Message) -> RawHeaders | None:
    """A record's headers; none of them when they cannot be read.

    Every look at a record's headers goes through here. On a header whose name is not UTF-8, confluent-kafka (2.x) both
    returns a list and leaves an exception, and the list has a hole that takes the process down when it is looked at
    (`tests/contract/test_kafka_client.py`). Headers are optional on what others publish, so such a record counts as one
    without.
    """
    try:
        return _look(message)
    except SystemError:
        message.set_headers([])  # before anybody looks again
        log.warning("unreadable_headers", topic=message.topic(), partition=message.partition(), offset=message.offset())
        return []


def recorded_at(message: Message) -> datetime:
    """A record's timestamp as the log has it, within 1970 to 9999."""
    return time_of(message.timestamp()[1])


def time_of(timestamp_ms: int) -> datetime:
    """A timestamp of Kafka's as a time within 1970 to 9999, whatever number a client wrote."""
    return datetime.fromtimestamp(min(max(timestamp_ms, 0), _LATEST_MS) / 1000, UTC)


def offset_of(message: Message) -> int:
    """The offset of a record; only those that were not consumed have none."""
    offset = message.offset()
    assert offset is not None
    return offset


def partition_of(message: Message) -> int:
    """The partition of a record; only those that were not consumed have none."""
    partition = message.partition()
    assert partition is not None
    return partition
