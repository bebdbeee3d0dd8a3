"""Dead letters: their names, which are open, and what goes back."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.streams.clients.log_of_messages import START, LogOfMessages

from schemas import headers
from schemas.headers import Origin
from schemas.outcome import DeadLetter, Reason, Redriven
from streams.clients.dead_letters import LetterPlace, place_of, read_book, read_letters, redriven_headers
from streams.errors import UsageError
from topology import topics
from topology.graph import GRAPH, StageSpec

LETTER = DeadLetter(
    stage="record",
    topic="conversation.events.v1",
    partition=2,
    offset=43,
    recorded_at=START,
    key=b"acme/maria",
    value=b"\xff{",
    headers=[("ce_type", b"x"), ("empty", None)],
    reason=Reason.UNDECODABLE,
    error="JSON is malformed",
    attempts=1,
    failed_at=START + timedelta(seconds=1),
)


def redriven(letter: DeadLetter) -> Redriven:
    """The note that a letter went back."""
    return Redriven(
        stage=letter.stage,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        redriven_at=START + timedelta(minutes=1),
        to_partition=letter.partition,
        to_offset=99,
    )


@given(spec=st.sampled_from(GRAPH), partition=st.integers(0, 10_000), offset=st.integers(0, 2**62))
def test_a_printed_name_names_the_same_letter(spec: StageSpec, partition: int, offset: int) -> None:
    """The name of a letter, as it is printed, is read back as the same letter."""
    place = LetterPlace(spec.name, spec.reads.name, partition, offset)
    assert LetterPlace.parse(str(place)) == place


def test_a_name_may_have_the_topics_version() -> None:
    """The whole topic name is understood too."""
    short = LetterPlace.parse("record/conversation.events/2/43")
    assert LetterPlace.parse("record/conversation.events.v1/2/43") == short


@pytest.mark.parametrize(
    "text",
    [
        "",
        "record",
        "record/2/43",
        "record/memory.changes/2/43",
        "nobody/conversation.events/2/43",
        "record/conversation.events/2/-1",
        "record/conversation.events/2/x",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    """A wrong name is wrong use, and the message shows the form."""
    with pytest.raises(UsageError) as refused:
        LetterPlace.parse(text)
    assert "STAGE/TOPIC/PARTITION/OFFSET" in refused.value.next_step


def test_a_redriven_letter_is_no_longer_open() -> None:
    """A letter is open until the note that it went back stands behind it."""
    log = LogOfMessages()
    other = msgspec.structs.replace(LETTER, offset=44)
    for record in (LETTER, other, redriven(LETTER)):
        log.write(topics.DLQ, 2, record)
    book = read_book(log)
    assert set(book.open) == {place_of(other)}
    assert set(book.redriven) == {place_of(LETTER)}
    assert book.redriven[place_of(LETTER)].redriven_at == START + timedelta(minutes=1)


def test_a_letter_that_comes_again_is_open_again() -> None:
    """A stage that fails on the same record once more, after a replay, opens its letter again."""
    log = LogOfMessages()
    for record in (LETTER, redriven(LETTER), LETTER):
        log.write(topics.DLQ, 2, record)
    assert set(read_book(log).open) == {place_of(LETTER)}


def test_letters_of_a_future_schema_are_counted() -> None:
    """A record that this version cannot read hides nothing: it is counted, the others are listed."""
    log = LogOfMessages()
    log.write(topics.DLQ, 1, msgspec.msgpack.encode({"type": "dead_letter", "v": 99}))
    log.write(topics.DLQ, 2, LETTER)
    book = read_book(log)
    assert book.unreadable == 1
    assert len(book.open) == 1


def test_only_wanted_letters_are_read_whole() -> None:
    """Letters come with their bytes, and only those asked for."""
    log = LogOfMessages()
    log.write(topics.DLQ, 2, LETTER)
    log.write(topics.DLQ, 2, msgspec.structs.replace(LETTER, stage="extract"))
    assert list(read_letters(log, {place_of(LETTER)})) == [LETTER]


def test_an_event_goes_back_for_one_lane_with_its_origin() -> None:
    """A conversation event that is sent back names its first place and time, and the lane that failed."""
    back = redriven_headers(LETTER)
    assert headers.origin_of(back) == Origin(2, 43, int(START.timestamp() * 1000))
    assert headers.get(back, headers.LANE) == b"record"
    assert headers.get(back, "ce_type") == b"x"


def test_the_first_origin_stays_and_the_lane_is_named_once() -> None:
    """A copy that failed again keeps the origin of the first publication, and does not pile up lanes."""
    first = Origin(0, 7, 123)
    again = msgspec.structs.replace(
        LETTER,
        stage="extract",
        headers=[*headers.with_origin(None, first), (headers.LANE, b"record")],
    )
    back = redriven_headers(again)
    assert headers.origin_of(back) == first
    assert [value for name, value in back if name == headers.LANE] == [b"extract"]


def test_other_topics_get_their_headers_back_as_they_were() -> None:
    """Lanes and origins are a matter of conversation events."""
    letter = msgspec.structs.replace(LETTER, stage="embed", topic="memory.candidates.v1")
    assert redriven_headers(letter) == [("ce_type", b"x")]
