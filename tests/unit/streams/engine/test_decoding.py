"""What decoding makes of a raw batch."""

from confluent_kafka import Message
from raw_records import raw_batch, raw_record

from schemas import headers
from schemas.codec import CONVERSATION_EVENTS
from schemas.outcome import Outcome, Reason, Verdict
from streams.engine.batcher import RawBatch
from streams.engine.decoding import decode_batch
from streams.engine.ledger import Failed
from topology import graph

GOOD = b'{"type": "turn", "user_id": "u", "conversation_id": "c", "role": "user", "content": "hi"}'


def record(offset: int, value: bytes, headers: headers.Headers | None = None) -> Message:
    return raw_record(2, offset, value, headers=headers)


def raw(*messages: Message) -> RawBatch:
    return raw_batch(messages)


def test_what_is_no_event_becomes_a_dead_letter_and_the_rest_goes_on() -> None:
    """One bad record does not keep its neighbours from the stage; the batch settles all of them."""
    decoded = decode_batch(
        raw(record(4, GOOD), record(5, b"{"), record(6, GOOD), record(7, b'{"type": "turn", "v": 9}')),
        codec=CONVERSATION_EVENTS,
        spec=graph.stage("record"),
    )

    assert [record.offset for record in decoded.batch.records] == [4, 6]
    assert [(letter.message.offset(), letter.reason) for letter in decoded.undecodable] == [
        (5, Reason.UNDECODABLE),
        (7, Reason.UNSUPPORTED_VERSION),
    ]
    assert decoded.batch.last_offsets == {2: 7}


def test_a_letter_sent_back_is_dead_lettered_again_by_its_own_lane_only() -> None:
    """Otherwise every round of redriving would double the letters."""
    batch = raw(record(4, b"{", [(headers.LANE, b"extract")]))
    by_record = decode_batch(batch, codec=CONVERSATION_EVENTS, spec=graph.stage("record"))
    by_extract = decode_batch(batch, codec=CONVERSATION_EVENTS, spec=graph.stage("extract"))

    assert by_record.undecodable == []
    assert by_record.skipped == {2: [Verdict(4, Outcome.FILTERED, Reason.OTHER_LANE)]}
    assert len(by_extract.undecodable) == 1
    assert by_extract.skipped == {}


def test_a_lane_that_does_not_exist_hides_no_undecodable_record() -> None:
    """Both lanes dead-letter it: it is nobody else's."""
    batch = raw(record(4, b"{", [(headers.LANE, b"junk")]))
    for name in ("record", "extract"):
        decoded = decode_batch(batch, codec=CONVERSATION_EVENTS, spec=graph.stage(name))
        assert (len(decoded.undecodable), decoded.skipped) == (1, {})


def test_a_record_that_was_given_up_is_settled_unseen() -> None:
    """The stage does not see it again, and the batch moves past it."""
    message = record(4, GOOD)
    letter = Failed(message=message, reason=Reason.POISON, error="x", attempts=1)
    decoded = decode_batch(raw(message), codec=CONVERSATION_EVENTS, spec=graph.stage("record"), given_up=[letter])

    assert decoded.batch.records == []
    assert decoded.batch.last_offsets == {2: 4}
    assert decoded.undecodable == []
