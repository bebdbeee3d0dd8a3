"""Laws of encoding: what is written is read back, what is foreign is refused by name, what is unknown is ignored."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec as codecs
from schemas.candidate import Lane, Watermark
from schemas.codec import Codec, DecodeError
from schemas.conversation import ConversationEvent, Turn
from schemas.golden import CODECS, stored
from schemas.outcome import Reason

MOMENTS = st.datetimes(timezones=st.just(UTC))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/", exclude_categories=["Cc", "Cs"]), min_size=1)
INTEGERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of one annotation, as our own code may write them."""
    if annotation is int:
        return INTEGERS
    if annotation is float:
        return st.floats(allow_nan=False)
    if annotation is str:
        return TEXTS
    if annotation is datetime:
        return MOMENTS
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return records_of(annotation)
    if hasattr(annotation, "__metadata__"):
        return NAMES.map(lambda name: name[:64])
    if getattr(annotation, "__origin__", None) is list:
        return st.lists(values_of(get_args(annotation)[0]), max_size=3)
    if getattr(annotation, "__origin__", None) is tuple:
        return st.tuples(*map(values_of, get_args(annotation)))
    if (parts := get_args(annotation)) and type(None) in parts:
        return st.none() | st.one_of([values_of(part) for part in parts if part is not type(None)])
    if msgspec.UnsetType in parts:
        return st.just(msgspec.UNSET) | st.one_of([values_of(p) for p in parts if p is not msgspec.UnsetType])
    return st.from_type(annotation)


def records_of(struct: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Records of one type at its current version; forgets name what their scope needs."""
    fields = {f.name: values_of(f.type) for f in msgspec.structs.fields(struct) if f.name != "v"}
    if "scope" in fields and "conversation_id" in fields:
        fields |= {"conversation_id": NAMES.map(lambda n: n[:64]), "memory_id": NAMES.map(lambda n: n[:64])}
    return st.builds(struct, **fields)


def records_on(codec: Codec[Any]) -> st.SearchStrategy[msgspec.Struct]:
    """Records of every type of one topic."""
    return st.one_of([records_of(struct) for struct in get_args(codec.record_type) or (codec.record_type,)])


NAMED_RECORDS = st.sampled_from(list(CODECS)).flatmap(lambda name: st.tuples(st.just(name), records_on(CODECS[name])))
STORED = [sample for _, sample in stored()]


@given(NAMED_RECORDS)
def test_what_is_written_is_read_back(named: tuple[str, msgspec.Struct]) -> None:
    """Decoding what was encoded gives the same record, for every type on every topic."""
    name, record = named
    codec = CODECS[name]
    assert codec.decode(codec.encode(record)) == record


@given(NAMED_RECORDS, st.dictionaries(TEXTS.map("x_".__add__), st.none() | INTEGERS | TEXTS | st.lists(TEXTS)))
def test_unknown_fields_are_ignored(named: tuple[str, msgspec.Struct], extra: dict[str, Any]) -> None:
    """A record with fields that this code does not know reads the same as without them."""
    name, record = named
    codec = CODECS[name]
    format_ = msgspec.json if codec.encoding == "json" else msgspec.msgpack
    body = format_.decode(codec.encode(record))
    assert codec.decode(format_.encode({**extra, **body})) == record


@given(st.sampled_from(list(CODECS)), st.binary())
def test_arbitrary_bytes_are_refused_by_name(name: str, raw: bytes) -> None:
    """Bytes that are no record raise DecodeError and nothing else."""
    with pytest.raises(DecodeError):
        CODECS[name].decode(raw)


@given(st.sampled_from(STORED), st.data())
def test_damaged_records_are_read_or_refused(sample: Any, data: st.DataObject) -> None:
    """A record with a few bytes changed, cut out or put in is still a record, or raises DecodeError only."""
    raw = bytearray(sample.raw())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw)))
        raw[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        CODECS[sample.codec].decode(bytes(raw))
    except DecodeError as error:
        assert error.reason in (Reason.UNDECODABLE, Reason.UNSUPPORTED_VERSION)  # noqa: PT017  (either way is right)


@given(st.sampled_from(STORED), st.data())
def test_changed_fields_are_read_or_refused(sample: Any, data: st.DataObject) -> None:
    """A body with one field of another kind is still a record, or raises DecodeError and nothing else."""
    codec = CODECS[sample.codec]
    format_ = msgspec.json if codec.encoding == "json" else msgspec.msgpack
    try:
        body = format_.decode(sample.raw())
    except (ValueError, RecursionError):
        return
    if not isinstance(body, dict):
        return
    scalars = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    value = data.draw(scalars | st.lists(scalars, max_size=3) | st.dictionaries(TEXTS, scalars, max_size=3))
    raw = format_.encode({**body, data.draw(st.sampled_from(list(body))): value})
    try:
        codec.decode(raw)
    except DecodeError as error:
        assert error.reason in (Reason.UNDECODABLE, Reason.UNSUPPORTED_VERSION)  # noqa: PT017  (either way is right)


TURN_BODY = {"type": "turn", "user_id": "u", "conversation_id": "c", "role": "user", "content": "hi"}


@pytest.mark.parametrize("name", CODECS)
def test_a_record_without_value_is_undecodable(name: str) -> None:
    """A deletion marker where an event is expected is refused like any other non-event."""
    with pytest.raises(DecodeError) as caught:
        CODECS[name].decode(None)
    assert caught.value.reason is Reason.UNDECODABLE


@pytest.mark.parametrize("raw", [b"[" * 200_000, b'{"type": "turn", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_brackets_nested_without_end_are_undecodable(raw: bytes) -> None:
    """A few bytes of brackets must not stop a worker, in known and in unknown places alike."""
    with pytest.raises(DecodeError) as caught:
        codecs.CONVERSATION_EVENTS.decode(raw)
    assert caught.value.reason is Reason.UNDECODABLE


@given(st.integers(0, 2000))
def test_the_size_limit_is_exact(padding: int) -> None:
    """A record of just the limit is read, one byte more is oversize, whatever the bytes are."""
    fits = json.dumps(TURN_BODY).encode() + b" " * padding
    codec = codecs.CONVERSATION_EVENTS.limited_to(len(fits))
    assert isinstance(codec.decode(fits), Turn)
    for too_large in (fits + b" ", b"\xff" * (len(fits) + 1)):
        with pytest.raises(DecodeError) as caught:
            codec.decode(too_large)
        assert caught.value.reason is Reason.OVERSIZE


def test_conversation_events_have_a_limit() -> None:
    """Without a setting, an event above 256 KiB is oversize."""
    with pytest.raises(DecodeError) as caught:
        codecs.CONVERSATION_EVENTS.decode(json.dumps({**TURN_BODY, "content": "x" * 256 * 1024}).encode())
    assert caught.value.reason is Reason.OVERSIZE


SECRET = "the cat's name is Mimi"


@pytest.mark.parametrize("field", [*TURN_BODY, "v", "tenant", "occurred_at", "scope"])
@pytest.mark.parametrize("base", [TURN_BODY, {**TURN_BODY, "type": "forget", "scope": "user"}])
@pytest.mark.parametrize("value", [SECRET, [SECRET], {SECRET: SECRET}])
def test_error_messages_never_quote_content(base: dict[str, Any], field: str, value: Any) -> None:
    """Whatever stands in a wrong place, the message names the place and not what stands there."""
    raw = json.dumps({**base, field: value}).encode()
    try:
        codecs.CONVERSATION_EVENTS.decode(raw)
    except DecodeError as error:
        assert SECRET not in str(error)  # noqa: PT017  (some values are right for their field)


def test_unknown_types_are_named_when_the_name_is_one() -> None:
    """An operator reads which type is missing here; what is no word is not repeated."""
    with pytest.raises(DecodeError, match="unknown type 'reaction'") as caught:
        codecs.CONVERSATION_EVENTS.decode(b'{"type": "reaction"}')
    assert caught.value.reason is Reason.UNSUPPORTED_VERSION


OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timedelta(minutes=minutes))


@given(st.datetimes(), OFFSETS)
def test_event_times_become_utc_or_are_refused(moment: datetime, offset: timedelta) -> None:
    """Every accepted time is the same moment in UTC, so that MessagePack, which knows nothing else, can hold it."""
    sign, minutes = "-" if offset < timedelta(0) else "+", abs(offset) // timedelta(minutes=1)
    text = f"{moment.isoformat()}{sign}{minutes // 60:02}:{minutes % 60:02}"
    raw = json.dumps({**TURN_BODY, "occurred_at": text}).encode()
    try:
        expected = moment.replace(tzinfo=UTC) - offset
    except OverflowError:
        with pytest.raises(DecodeError, match="occurred_at"):
            codecs.CONVERSATION_EVENTS.decode(raw)
        return
    event = codecs.CONVERSATION_EVENTS.decode(raw)
    assert isinstance(event, ConversationEvent)
    assert event.occurred_at == expected
    assert event.occurred_at.tzinfo is UTC
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event.occurred_at), type=datetime) == expected


def test_times_without_offset_are_utc() -> None:
    """A publisher that names no offset means UTC."""
    event = codecs.CONVERSATION_EVENTS.decode(json.dumps({**TURN_BODY, "occurred_at": "2025-03-01T10:00:00"}).encode())
    assert event.occurred_at == datetime(2025, 3, 1, 10, tzinfo=UTC)


def test_every_record_says_its_version() -> None:
    """What is written can be upcast for ever, because it says what it is."""
    assert json.loads(codecs.CHANGES.encode(Watermark(lane=Lane.RECORD, offset=3)))["v"] == 1
