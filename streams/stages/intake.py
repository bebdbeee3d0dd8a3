"""What record and extract both ask of a conversation event: is it ours to handle here, and who is it from?"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas import headers, ids
from schemas.candidate import Lane
from schemas.conversation import ConversationEvent
from schemas.headers import Headers, Origin
from schemas.outcome import Reason
from streams.engine.raw_record import time_of
from streams.engine.stage import Consumed
from topology import keys


@dataclass(frozen=True, slots=True)
class Intake:
    """A conversation event with what its record adds to it.

    Attributes:
        event: as published.
        event_id: its own, or the place where it first stood.
        occurred_at: its own, or the record's timestamp.
        recorded_at: the record's timestamp: when we knew. That of the origin, for a copy.
        offset: where this record stands; for a copy, where the copy stands.
    """

    event: ConversationEvent
    event_id: str
    occurred_at: datetime
    recorded_at: datetime
    offset: int


def origin(record: Consumed[Any]) -> Origin:
    """Where the event first stood: its origin header, or right here."""
    return headers.origin_of(record.headers) or Origin(record.partition, record.offset, record.timestamp_ms)


def take_in(record: Consumed[ConversationEvent]) -> Intake:
    """The event, with offset and timestamp standing in for a missing id and time."""
    event, first = record.event, origin(record)
    recorded_at = time_of(first.timestamp_ms)
    return Intake(
        event=event,
        event_id=event.event_id or ids.origin_event_id(first.partition, first.offset),
        occurred_at=event.occurred_at or recorded_at,
        recorded_at=recorded_at,
        offset=record.offset,
    )


def is_misplaced(record: Consumed[ConversationEvent], *, partitions: int) -> bool:
    """Whether the record stands in a partition that is not its user's, or has no key.

    A wrong key in the right partition does no harm: order is a matter of partitions.
    """
    return record.key is None or keys.partition_of(record.event.user, partitions) != record.partition


def rerouted_headers(record: Consumed[Any]) -> Headers:
    """The headers of a copy: its own, and where it first stood."""
    return headers.with_origin(record.headers, origin(record))


def skip_reason(record: Consumed[Any], *, lane: Lane) -> Reason | None:
    """Why a lane does not read this record: a redriven copy is for the lane that could not handle it."""
    return Reason.OTHER_LANE if headers.only_lane(record.headers) not in (None, lane) else None
