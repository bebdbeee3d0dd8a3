"""Headers: the origin of copies survives all copying, and unreadable headers harm nobody."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas import headers
from schemas.headers import Origin

INTEGERS = st.integers(-(2**63), 2**63 - 1)
ORIGINS = st.builds(Origin, INTEGERS, INTEGERS, INTEGERS)
RAW = st.lists(st.tuples(st.text(max_size=8) | st.just(headers.ORIGIN), st.none() | st.binary(max_size=20)), max_size=4)


@given(RAW, ORIGINS)
def test_the_newest_value_of_a_name_counts(raw: list[tuple[str, bytes | None]], origin: Origin) -> None:
    """Of several headers with one name the last one is read, as whoever wrote last meant it."""
    copy = headers.with_origin([(name, value) for name, value in raw if name != headers.ORIGIN], origin)
    assert headers.origin_of(copy) == origin
    assert headers.get([*copy, (headers.ORIGIN, b"[0,0,0]")], headers.ORIGIN) == b"[0,0,0]"


@given(ORIGINS, ORIGINS)
def test_a_copy_of_a_copy_keeps_the_first_origin(first: Origin, second: Origin) -> None:
    """However often an event is copied, its origin is where it first stood."""
    assert headers.origin_of(headers.with_origin(headers.with_origin(None, first), second)) == first


@given(RAW, ORIGINS)
def test_other_headers_are_kept(raw: list[tuple[str, bytes | None]], origin: Origin) -> None:
    """A copy has all headers of the original that have a value, in their order."""
    kept = [(name, value) for name, value in raw if value is not None and name != headers.ORIGIN]
    assert [(n, v) for n, v in headers.with_origin(raw, origin) if n != headers.ORIGIN] == kept


@given(st.binary() | st.just(b"[" * 100_000) | st.just(b'"\xff"'))
def test_an_unreadable_origin_is_none(raw: bytes) -> None:
    """Whatever a publisher wrote there, reading it harms nobody, and a real origin takes its place."""
    origin = Origin(1, 2, 3)
    found = headers.origin_of([(headers.ORIGIN, raw)])
    assert found is None or isinstance(found, Origin)
    copied = headers.origin_of(headers.with_origin([(headers.ORIGIN, raw)], origin))
    assert copied == (found or origin)


def test_cloudevent_headers_follow_the_kafka_binding() -> None:
    """Attributes are `ce_` headers in UTF-8, the content type is not one of them, and the time is optional."""
    written = headers.cloudevent(
        event_id="évt", event_type="memstream.x", source="/y", time=datetime(2025, 3, 1, 10, tzinfo=UTC)
    )
    assert dict(written) == {
        "ce_specversion": b"1.0",
        "ce_id": "évt".encode(),
        "ce_type": b"memstream.x",
        "ce_source": b"/y",
        "content-type": b"application/json",
        "ce_time": b"2025-03-01T10:00:00Z",
    }
    assert "ce_time" not in dict(headers.cloudevent(event_id="e", event_type="t", source="s"))


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_time_of_a_cloudevent_is_in_iso_form(time: datetime) -> None:
    """Times are RFC 3339 in UTC, with microseconds only where there are some."""
    written = dict(headers.cloudevent(event_id="e", event_type="t", source="s", time=time))
    assert written["ce_time"].decode() == time.isoformat().replace("+00:00", "Z")
