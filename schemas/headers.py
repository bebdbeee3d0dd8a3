"""Record headers: CloudEvents in binary mode on public topics, and our own few on all.

Headers are optional on what others publish: the body says everything. Ours are:

- `memstream-origin`: where a rerouted or redriven copy first stood;
- `memstream-lane`: the only lane that may read a redriven copy;
- `memstream-window`: on a dead letter of extract and its redriven copy, the window that could not be read;
- `memstream-vector`, `memstream-head`: on `memory.changes`, so that ordinary consumers never pay for them.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from schemas.candidate import Lane

Headers = list[tuple[str, bytes]]
RawHeaders = Sequence[tuple[str, bytes | None]]

ORIGIN = "memstream-origin"
LANE = "memstream-lane"
VECTOR = "memstream-vector"
HEAD = "memstream-head"
WINDOW = "memstream-window"
TRACEPARENT = "traceparent"

CHANGE_TYPE = "memstream.memory.change"
WATERMARK_TYPE = "memstream.watermark"
EVENT_TYPE_PREFIX = "memstream.conversation."

_LANES = {lane.value.encode(): lane for lane in Lane}


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Where a copied event first stood in `conversation.events`; it stands in for a missing id or time."""

    partition: int
    offset: int
    timestamp_ms: int


def get(headers: RawHeaders | None, name: str) -> bytes | None:
    """The last value under a name (the one added by the newest writer), or none."""
    for key, value in reversed(headers or ()):
        if key == name:
            return value
    return None


def get_all(headers: RawHeaders | None, name: str) -> list[bytes]:
    """All values under a name, in their order."""
    return [value for key, value in headers or () if key == name and value is not None]


def only_lane(headers: RawHeaders | None) -> Lane | None:
    """The one lane that may read a redriven copy; none where both may.

    A value that names no lane is as if it were not there, like an origin that cannot be read. Headers are optional, and
    the body says everything: what a stranger writes there must not keep an event from both lanes, each of which would
    take it for the other's. Nor is such an event poison, for nothing is wrong with what it says.
    """
    raw = get(headers, LANE)
    return None if raw is None else _LANES.get(raw)


def origin_of(headers: RawHeaders | None) -> Origin | None:
    """The origin of a copy; none for a first publication or an unreadable header."""
    raw = get(headers, ORIGIN)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=Origin)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def with_origin(headers: RawHeaders | None, origin: Origin) -> Headers:
    """The same headers with an origin; an older origin wins, since the first place is the origin."""
    kept = [(key, value) for key, value in headers or () if value is not None]
    if origin_of(headers) is None:
        kept = [(key, value) for key, value in kept if key != ORIGIN]
        kept.append((ORIGIN, msgspec.json.encode(origin)))
    return kept


def cloudevent(*, event_id: str, event_type: str, source: str, time: datetime | None = None) -> Headers:
    """CloudEvents 1.0 attributes of one record, binary mode (Kafka protocol binding, section 3.2)."""
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", source.encode()),
        ("content-type", b"application/json"),
    ]
    if time is not None:
        headers.append(("ce_time", msgspec.json.encode(time)[1:-1]))  # RFC 3339, without the quotes
    return headers
