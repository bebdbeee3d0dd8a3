"""What the samples are made from: one record of every type at its current version, and a few out of line."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from schemas.candidate import Candidate, Embedded, Lane, Source, Watermark
from schemas.conversation import ConversationEnded, Correction, Forget, Idle, Turn
from schemas.golden import CODECS, Sample
from schemas.ids import UserKey, change_id, fact_memory_id, idle_event_id, turn_memory_id, window_id
from schemas.indexed import Indexed, IndexedUser
from schemas.memory import Fence, Head, Memory, MemoryChange, Op, replace_in_digest
from schemas.outcome import DeadLetter, LedgerEntry, Outcome, Reason, Redriven, Verdict
from schemas.window import Window, WindowTurn

MARIA = UserKey("acme", "maria")
SAID_AT = datetime(2025, 3, 1, 10, 0, tzinfo=UTC)
RECORDED_AT = SAID_AT + timedelta(milliseconds=123)
TURN_EVENT, ENDED_EVENT = "evt-1", "evt-2"
TURN_MEMORY = turn_memory_id(MARIA, TURN_EVENT)
WINDOW = window_id(MARIA, "c1", [TURN_EVENT])
HOME_MEMORY = fact_memory_id(MARIA, "home: Berlin", [TURN_EVENT])
OLD_HOME_MEMORY = fact_memory_id(MARIA, "home: Hamburg", ["evt-0"])

TURN = Turn(
    tenant=MARIA.tenant,
    user_id=MARIA.user_id,
    conversation_id="c1",
    event_id=TURN_EVENT,
    role="user",
    name="Maria",
    content="I moved to Berlin last week. 🏡 東京は遠い。",
    occurred_at=SAID_AT,
)
TURN_CANDIDATE = Candidate(
    lane=Lane.RECORD,
    kind="turn",
    tenant=MARIA.tenant,
    user_id=MARIA.user_id,
    memory_id=TURN_MEMORY,
    cause=TURN_EVENT,
    text=TURN.content,
    conversation_id="c1",
    role="user",
    name="Maria",
    source_event_ids=[TURN_EVENT],
    source=Source(41, 41, RECORDED_AT),
    occurred_at=SAID_AT,
    valid_from=SAID_AT,
)
FACT_CANDIDATE = Candidate(
    lane=Lane.EXTRACT,
    kind="fact",
    tenant=MARIA.tenant,
    user_id=MARIA.user_id,
    memory_id=HOME_MEMORY,
    cause=WINDOW,
    text="Maria lives in Berlin",
    conversation_id="c1",
    role="user",
    name=None,
    source_event_ids=[TURN_EVENT],
    source=Source(41, 41, RECORDED_AT),
    occurred_at=SAID_AT,
    valid_from=SAID_AT - timedelta(days=7),
    slot="home",
    confidence_ratio=0.75,
)
ADDED = MemoryChange(
    change_id=change_id(HOME_MEMORY, Op.ADDED, WINDOW, 0),
    op=Op.ADDED,
    cause=WINDOW,
    generation=1,
    tenant=MARIA.tenant,
    user_id=MARIA.user_id,
    revision=3,
    memory_id=HOME_MEMORY,
    kind="fact",
    conversation_id="c1",
    role="user",
    name="Maria",
    slot="home",
    source_event_ids=[TURN_EVENT],
    occurred_at=SAID_AT,
    valid_from=SAID_AT - timedelta(days=7),
    valid_to=None,
    recorded_at=RECORDED_AT,
    retracted_at=None,
    superseded_by=None,
    text="Maria lives in Berlin",
)
SUPERSEDED = msgspec.structs.replace(
    ADDED,
    change_id=change_id(OLD_HOME_MEMORY, Op.SUPERSEDED, WINDOW, 0),
    op=Op.SUPERSEDED,
    revision=4,
    memory_id=OLD_HOME_MEMORY,
    source_event_ids=["evt-0"],
    valid_to=SAID_AT - timedelta(days=7),
    superseded_by=HOME_MEMORY,
    text="Maria lives in Hamburg",
    previous_text="Maria lives in Hamburg",
)
ERASED = msgspec.structs.replace(
    ADDED,
    change_id=change_id(HOME_MEMORY, Op.ERASED, "evt-3", 1),
    op=Op.ERASED,
    cause="evt-3",
    revision=5,
    conversation_id=None,
    role=None,
    name=None,
    slot=None,
    source_event_ids=[],
    retracted_at=SAID_AT + timedelta(days=1),
    text=msgspec.UNSET,
)


def _codec_of(name: str) -> str:
    return name.partition("/")[0]


def _as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _accepted(codec: str, about: str, record: msgspec.Struct) -> Sample:
    """A record as our own code writes it."""
    raw = CODECS[codec].encode(record)
    body = msgspec.json.decode(raw) if CODECS[codec].encoding == "json" else msgspec.UNSET
    return Sample(
        about=about,
        codec=codec,
        body=body,
        raw_base64=raw if body is msgspec.UNSET else msgspec.UNSET,
        record=_as_json(record),
    )


def _foreign(codec: str, about: str, content: Any, *, refused: Reason | None = None) -> Sample:
    """A record as others may write it: a body, or bytes that are none."""
    json = CODECS[codec].encoding == "json" and not isinstance(content, bytes)
    raw = content if isinstance(content, bytes) else msgspec.msgpack.encode(content)
    sample = Sample(
        about=about,
        codec=codec,
        body=_as_json(content) if json else msgspec.UNSET,
        raw_base64=msgspec.UNSET if json else raw,
        refused=refused or msgspec.UNSET,
    )
    return sample if refused else msgspec.structs.replace(sample, record=_as_json(sample.read()))


def _with(record: msgspec.Struct, *, without: str | None = None, **changed: Any) -> dict[str, Any]:
    """The body of a record with some fields changed, or one taken out."""
    body: dict[str, Any] = {**msgspec.to_builtins(record, builtin_types=(datetime, bytes)), **changed}
    return {name: value for name, value in body.items() if name != without}


def _current() -> dict[str, Sample]:
    """Every type at its current version, on every topic where it stands, and bodies that only others write."""
    watermark = Watermark(lane=Lane.EXTRACT, offset=40)
    head = Head(
        tenant=MARIA.tenant,
        user_id=MARIA.user_id,
        generation=1,
        revision=5,
        digest=replace_in_digest(bytes(16), HOME_MEMORY, old_revision=None, new_revision=5),
        memories=1,
        forgets=1,
        fences=[Fence("conversation", 40, "c0"), Fence("user", 17)],
    )
    window_turn = WindowTurn(TURN_EVENT, 41, "user", "Maria", TURN.content, SAID_AT, RECORDED_AT)
    earlier = WindowTurn("evt-0", 12, "assistant", None, "Where do you live?", SAID_AT, RECORDED_AT)
    ledger = LedgerEntry(
        stage="record",
        topic="conversation.events.v1",
        partition=2,
        first_offset=40,
        last_offset=44,
        applied=3,
        filtered=1,
        dead_lettered=1,
        verdicts=[
            Verdict(41, Outcome.FILTERED, Reason.REROUTED),
            Verdict(43, Outcome.DEAD_LETTERED, Reason.UNDECODABLE),
        ],
        decided_at=RECORDED_AT,
    )
    letter = DeadLetter(
        stage="record",
        topic="conversation.events.v1",
        partition=2,
        offset=43,
        recorded_at=RECORDED_AT,
        key=b"acme/maria",
        value=b"\xff{not json",
        headers=[("ce_type", b"memstream.conversation.turn"), ("empty", None)],
        reason=Reason.UNDECODABLE,
        error="JSON is malformed: invalid character (byte 0)",
        attempts=1,
        failed_at=RECORDED_AT,
    )
    redriven = Redriven(
        stage="record",
        topic="conversation.events.v1",
        partition=2,
        offset=43,
        redriven_at=RECORDED_AT,
        to_partition=2,
        to_offset=61,
    )
    tenant, user_id = MARIA
    ended = ConversationEnded(
        tenant=tenant, user_id=user_id, conversation_id="c1", event_id=ENDED_EVENT, occurred_at=SAID_AT
    )
    forget = Forget(
        tenant=tenant,
        user_id=user_id,
        scope="conversation",
        conversation_id="c1",
        event_id="evt-3",
        occurred_at=SAID_AT,
    )
    correction = Correction(
        tenant=tenant, user_id=user_id, memory_id=HOME_MEMORY, content="Lives in Bonn.", event_id="evt-4"
    )
    idle = Idle(
        tenant=tenant, user_id=user_id, conversation_id="c1", newest_offset=41, event_id=idle_event_id(MARIA, "c1", 41)
    )
    embedded = Embedded(candidate=FACT_CANDIDATE, model="static", vector=b"\x00\x3c\x00\x00")
    indexed = Indexed(
        generation=1,
        users=[IndexedUser(tenant, user_id, 4, [HOME_MEMORY, OLD_HOME_MEMORY])],
        watermarks=[Watermark(lane=Lane.RECORD, offset=44), watermark],
    )
    window = Window(tenant=tenant, user_id=user_id, conversation_id="c1", turns=[window_turn], context=[earlier])
    ours: dict[str, tuple[str, msgspec.Struct]] = {
        "conversation_events/turn.v1": ("a turn with every field", TURN),
        "conversation_events/conversation_ended.v1": ("an ended conversation", ended),
        "conversation_events/forget.v1": ("a conversation to forget", forget),
        "conversation_events/correction.v1": ("what a person says is right", correction),
        "conversation_events/idle.v1": ("an idle marker of extract", idle),
        "candidates/candidate.v1": ("a fact with every field", FACT_CANDIDATE),
        "candidates/candidate.v1.turn": ("a turn, without slot", TURN_CANDIDATE),
        "candidates/watermark.v1": ("how far extract has come", watermark),
        "embedded/embedded.v1": ("a fact with its vector (1.0, 0.0)", embedded),
        "embedded/watermark.v1": ("how far extract has come", watermark),
        "changes/change.v1": ("a new fact", ADDED),
        "changes/change.v1.superseded": ("an old fact makes way for a new one", SUPERSEDED),
        "changes/change.v1.erased": ("an erased memory: no text", ERASED),
        "changes/watermark.v1": ("how far extract has come", watermark),
        "memories/memory.v1": ("the memory that a change leaves behind", Memory.after(SUPERSEDED)),
        "indexed/indexed.v1": ("one user's changes and both watermarks", indexed),
        "heads/head.v1": ("a user with one memory and two fences", head),
        "windows/window.v1": ("an open window of one turn, with one turn of context", window),
        "ledger/ledger.v1": ("three applied, one filtered, one dead-lettered", ledger),
        "dlq/dead_letter.v1": ("bytes that are no event", letter),
        "dlq/redriven.v1": ("a letter that went back", redriven),
    }
    bare_turn = {"type": "turn", "user_id": user_id, "conversation_id": "c1", "role": "user", "content": "Hello"}
    theirs: dict[str, tuple[str, dict[str, Any]]] = {
        "conversation_events/turn.v1.bare": ("only what is required", bare_turn),
        "conversation_events/turn.v1.offset_time": (
            "a time with another offset is the same moment",
            _with(TURN, occurred_at="2025-03-01T11:00:00+01:00"),
        ),
        "conversation_events/turn.v1.naive_time": (
            "a time without offset is UTC",
            _with(TURN, occurred_at="2025-03-01T10:00:00"),
        ),
        "conversation_events/forget.v1.user": (
            "a whole user",
            {"type": "forget", "user_id": user_id, "scope": "user"},
        ),
        "conversation_events/forget.v1.memory": (
            "one memory",
            {"type": "forget", "user_id": user_id, "scope": "memory", "memory_id": HOME_MEMORY},
        ),
    }
    return {
        **{name: _accepted(_codec_of(name), about, record) for name, (about, record) in ours.items()},
        **{name: _foreign(_codec_of(name), about, body) for name, (about, body) in theirs.items()},
    }


def _future() -> dict[str, Sample]:
    """What a newer publisher or a newer release of ours may write."""
    longer_source = [41, 41, RECORDED_AT, "a fourth place"]
    unsupported = Reason.UNSUPPORTED_VERSION
    return {
        "future/turn.extra_fields": _foreign(
            "conversation_events",
            "unknown fields are ignored",
            _with(TURN, mood="happy", attachments=[{"kind": "image"}]),
        ),
        "future/change.extra_fields": _foreign("changes", "unknown fields are ignored", _with(ADDED, score=0.5)),
        "future/candidate.extra_fields": _foreign(
            "candidates",
            "unknown fields are ignored, and places at the end of an array",
            _with(FACT_CANDIDATE, source=longer_source, language="en"),
        ),
        "future/turn.next_version": _foreign(
            "conversation_events", "a version to come is not guessed at", _with(TURN, v=2), refused=unsupported
        ),
        "future/turn.next_version_other_fields": _foreign(
            "conversation_events",
            "nor when its fields are others than ours",
            {"type": "turn", "v": 3, "who": "maria", "said": {"text": "Hello"}},
            refused=unsupported,
        ),
        "future/unknown_type": _foreign(
            "conversation_events", "a type to come", {"type": "reaction", "user_id": "maria"}, refused=unsupported
        ),
        "future/watermark.next_version": _foreign(
            "candidates",
            "the same in MessagePack",
            _with(Watermark(lane=Lane.RECORD, offset=3), v=2),
            refused=unsupported,
        ),
    }


def _broken() -> dict[str, Sample]:
    """What is no event; the reason is always `undecodable`."""
    forget = {"type": "forget", "user_id": "maria"}
    broken: dict[str, tuple[str, str, Any]] = {
        "empty": ("conversation_events", "no bytes at all", b""),
        "not_json": ("conversation_events", "text", b"I moved to Berlin last week."),
        "cut_off": ("conversation_events", "half an event", msgspec.json.encode(TURN)[:80]),
        "not_utf8": ("conversation_events", "Latin-1", msgspec.json.encode(TURN).replace("🏡".encode(), b"\xe9")),
        "half_surrogate": (
            "conversation_events",
            "half of a UTF-16 pair",
            msgspec.json.encode(TURN).replace("🏡".encode(), b"\\ud83c"),
        ),
        "deeply_nested": ("conversation_events", "brackets without end", b'{"type": "turn", "x": ' + b"[" * 5_000),
        "null": ("conversation_events", "JSON, but no object", None),
        "array": ("conversation_events", "two events in one record", [_with(TURN), _with(TURN)]),
        "type_missing": ("conversation_events", "it does not say what it is", _with(TURN, without="type")),
        "type_of_another_topic": ("conversation_events", "known, but not here", _with(Watermark(Lane.RECORD, 3))),
        "version_zero": ("conversation_events", "versions start at 1", _with(TURN, v=0)),
        "version_text": ("conversation_events", "versions are numbers", _with(TURN, v="1")),
        "content_missing": ("conversation_events", "a turn says something", _with(TURN, without="content")),
        "content_number": ("conversation_events", "content is text", _with(TURN, content=42)),
        "user_empty": ("conversation_events", "nobody", _with(TURN, user_id="")),
        "user_zero_byte": ("conversation_events", "a zero byte separates keys", _with(TURN, user_id="ma\0ria")),
        "tenant_slash": ("conversation_events", "a slash separates tenant and user", _with(TURN, tenant="ac/me")),
        "tenant_newline": ("conversation_events", "no control characters", _with(TURN, tenant="acme\n")),
        "time_in_words": ("conversation_events", "times are RFC 3339", _with(TURN, occurred_at="yesterday")),
        "time_before_all": ("conversation_events", "no year 0", _with(TURN, occurred_at="0001-01-01T00:00:00+01:00")),
        "forget_scope": ("conversation_events", "there is no such scope", {**forget, "scope": "tenant"}),
        "forget_which_conversation": ("conversation_events", "it must be named", {**forget, "scope": "conversation"}),
        "forget_which_memory": ("conversation_events", "it must be named", {**forget, "scope": "memory"}),
        "change_op": ("changes", "a new operation needs a new version", _with(ADDED, op="polished")),
        "candidate_as_json": ("candidates", "MessagePack is expected", msgspec.json.encode(FACT_CANDIDATE)),
        "candidate_cut_off": ("candidates", "half a candidate", msgspec.msgpack.encode(FACT_CANDIDATE)[:100]),
        "candidate_source": ("candidates", "an array that is too short", _with(FACT_CANDIDATE, source=[41, 41])),
        "head_digest": ("heads", "a digest is bytes", _with(Head(tenant="acme", user_id="u", generation=1), digest=7)),
    }
    return {
        f"broken/{name}": _foreign(codec, about, content, refused=Reason.UNDECODABLE)
        for name, (codec, about, content) in broken.items()
    }


SAMPLES: dict[str, Sample] = {**_current(), **_future(), **_broken()}
"""By name, which is also their place in this folder."""
