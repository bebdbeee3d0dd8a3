"""What record makes of conversation events."""

from collections.abc import Iterator

import msgspec
import pytest
from in_process_log import START, InProcessLog

from schemas import headers
from schemas.candidate import Candidate, Lane, Watermark
from schemas.conversation import ConversationEnded, Correction, Forget, Idle, Turn
from schemas.headers import Origin
from schemas.ids import UserKey, turn_memory_id
from schemas.outcome import Outcome, Reason
from streams.engine.raw_record import time_of
from streams.engine.stage import Output
from streams.stages.record import Record
from topology import keys, topics


@pytest.fixture
def log() -> Iterator[InProcessLog]:
    return InProcessLog()


def turn(user_id: str = "u1", **fields: object) -> Turn:
    return Turn(user_id=user_id, conversation_id="c1", role="user", content="Hello.", **fields)  # type: ignore[arg-type]


def candidates(log: InProcessLog) -> list[Candidate]:
    return [event for event in log.decoded(topics.CANDIDATES) if isinstance(event, Candidate)]


async def test_a_turn_becomes_a_candidate_in_its_own_partition(log: InProcessLog) -> None:
    """Partition p leads to partition p, under the same key."""
    published = log.publish(turn(event_id="e1"))
    await log.run(Record(partitions=4))

    partition = keys.partition_of(UserKey("default", "u1"), 4)
    candidate, _watermark = log.records[topics.CANDIDATES.name, partition]
    assert candidate.key() == published.key() == b"default/u1"
    assert candidates(log)[0].memory_id == turn_memory_id(UserKey("default", "u1"), "e1")


async def test_place_and_timestamp_stand_in_for_a_missing_id_and_time(log: InProcessLog) -> None:
    """Without `event_id` and `occurred_at` the record's offset and timestamp are used."""
    log.publish(turn())
    log.publish(turn())
    await log.run(Record(partitions=4))

    partition = keys.partition_of(UserKey("default", "u1"), 4)
    assert [c.source_event_ids for c in candidates(log)] == [[f"{partition}-0"], [f"{partition}-1"]]
    assert candidates(log)[0].occurred_at == START
    assert candidates(log)[0].source.recorded_at == START


@pytest.mark.parametrize(
    "timestamp_ms", [-1, 253_402_300_800_000, 2**63 - 1], ids=["none", "year 10000", "the largest"]
)
async def test_a_timestamp_that_is_no_time_is_the_nearest_one(log: InProcessLog, timestamp_ms: int) -> None:
    """A turn that names no time is applied whatever its record, or the origin of a copy, says about that."""
    copied = headers.with_origin(None, Origin(0, 0, timestamp_ms))
    log.publish(turn(event_id="e1"), headers=copied)
    await log.run(Record(partitions=4))

    (candidate,) = candidates(log)
    assert candidate.occurred_at == candidate.source.recorded_at == time_of(timestamp_ms)
    assert log.poisoned == []


@pytest.mark.parametrize("keyed", [True, False], ids=["wrong partition", "no key"])
async def test_a_misplaced_event_is_copied_to_where_it_belongs(log: InProcessLog, keyed: bool) -> None:
    """The original is filtered as rerouted; the copy stands in the user's partition and knows where it first stood."""
    right = keys.partition_of(UserKey("default", "u1"), 4)
    wrong = (right + 1) % 4
    original = log.publish(turn(), partition=wrong if keyed else right, key=b"" if keyed else None)
    await log.run(Record(partitions=4))

    copy = log.records[topics.CONVERSATION_EVENTS.name, right][-1]
    assert copy.key() == b"default/u1"
    assert copy.value() == original.value()
    assert headers.origin_of(copy.headers) == Origin(wrong if keyed else right, 0, original.timestamp_ms)
    assert [(v.outcome, v.reason) for v in log.verdicts["record"]] == [(Outcome.FILTERED, Reason.REROUTED)]
    (candidate,) = candidates(log)
    assert candidate.source_event_ids == [f"{wrong if keyed else right}-0"]


async def test_a_wrong_key_in_the_right_partition_is_left_where_it_is(log: InProcessLog) -> None:
    """Order is a matter of partitions: such an event is applied at once."""
    right = keys.partition_of(UserKey("default", "u1"), 4)
    log.publish(turn(event_id="e1"), partition=right, key=b"something else")
    await log.run(Record(partitions=4))

    assert len(candidates(log)) == 1
    assert log.verdicts == {}


async def test_a_copy_redriven_for_the_other_lane_is_not_read_here(log: InProcessLog) -> None:
    """A dead letter of extract that is redriven does not pass through record a second time."""
    user = UserKey("default", "u1")
    log.append(
        Output(
            topic=topics.CONVERSATION_EVENTS,
            partition=keys.partition_of(user, 4),
            key=keys.user_key_bytes(user),
            value=topics.CONVERSATION_EVENTS.codec.encode(turn(event_id="e1")),
            headers=[(headers.LANE, b"extract")],
        )
    )
    await log.run(Record(partitions=4))

    assert candidates(log) == []
    assert [v.reason for v in log.verdicts["record"]] == [Reason.OTHER_LANE]


async def test_a_lane_that_does_not_exist_keeps_an_event_from_no_lane(log: InProcessLog) -> None:
    """Whoever writes such a header has published a turn: it is applied, and not taken for another lane's by both."""
    log.publish(turn(event_id="e1"), headers=[(headers.LANE, b"junk")])
    await log.run(Record(partitions=4))

    assert [candidate.source_event_ids for candidate in candidates(log)] == [["e1"]]
    assert log.verdicts == {}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (ConversationEnded(user_id="u1", conversation_id="c1"), Reason.OTHER_LANE),
        (Idle(user_id="u1", conversation_id="c1", newest_offset=3), Reason.OTHER_LANE),
        (Forget(user_id="u1", scope="user"), Reason.NOT_SUPPORTED),
        (Correction(user_id="u1", memory_id="m", content="Bonn."), Reason.NOT_SUPPORTED),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_events_that_are_no_turns_are_filtered_with_a_reason(
    log: InProcessLog, event: msgspec.Struct, reason: Reason
) -> None:
    """Nothing is dropped silently."""
    log.publish(event)
    await log.run(Record(partitions=4))

    assert candidates(log) == []
    assert [(v.outcome, v.reason) for v in log.verdicts["record"]] == [(Outcome.FILTERED, reason)]


async def test_the_watermark_follows_the_last_record_of_each_partition(log: InProcessLog) -> None:
    """It stands behind the batch's candidates and names the newest offset, whatever became of that record."""
    for number in range(3):
        log.publish(turn(event_id=f"e{number}"))
    log.publish(ConversationEnded(user_id="u1", conversation_id="c1"))
    await log.run(Record(partitions=4))

    partition = keys.partition_of(UserKey("default", "u1"), 4)
    last = topics.CANDIDATES.codec.decode(log.records[topics.CANDIDATES.name, partition][-1].value())
    assert last == Watermark(Lane.RECORD, 3)


async def test_a_trace_context_goes_along(log: InProcessLog) -> None:
    """The W3C header of the published record is on the candidate."""
    user = UserKey("default", "u1")
    log.append(
        Output(
            topic=topics.CONVERSATION_EVENTS,
            partition=keys.partition_of(user, 4),
            key=keys.user_key_bytes(user),
            value=topics.CONVERSATION_EVENTS.codec.encode(turn(event_id="e1")),
            headers=[("traceparent", b"00-1-2-01")],
        )
    )
    await log.run(Record(partitions=4))

    assert log.records[topics.CANDIDATES.name, keys.partition_of(user, 4)][0].headers == [("traceparent", b"00-1-2-01")]
