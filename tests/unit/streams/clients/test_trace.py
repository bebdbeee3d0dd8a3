"""What became of one event."""

from datetime import timedelta

import msgspec
import pytest
from unit.streams.clients.log_of_messages import PARTITIONS, START, LogOfMessages

from schemas import headers, ids
from schemas.candidate import Candidate, Embedded, Lane, Source
from schemas.conversation import Turn
from schemas.headers import Origin
from schemas.ids import UserKey
from schemas.indexed import Indexed, IndexedUser
from schemas.memory import MemoryChange, Op
from schemas.outcome import LedgerEntry, Outcome, Reason, Verdict
from schemas.window import Window, WindowTurn
from streams.clients.trace import EventUnknownError, Hop, Trace, trace
from streams.errors import UsageError
from topology import keys, topics
from topology.graph import StageName, stage

MARIA = UserKey("acme", "maria")
HERE = keys.partition_of(MARIA, PARTITIONS)
ELSEWHERE = (HERE + 1) % PARTITIONS
TURN = Turn(tenant="acme", user_id="maria", conversation_id="c1", event_id="e1", role="user", content="Hello")
SETTLED_AT = START + timedelta(seconds=1)


def candidate(lane: Lane, event_id: str = "e1", cause: str | None = None) -> Candidate:
    """What a lane made of the event."""
    kind = "turn" if lane is Lane.RECORD else "fact"
    return Candidate(
        lane=lane,
        kind=kind,
        tenant=MARIA.tenant,
        user_id=MARIA.user_id,
        memory_id=f"{kind}-of-{event_id}",
        cause=cause or (event_id if lane is Lane.RECORD else "window-1"),
        text="Hello",
        conversation_id="c1",
        role="user",
        name=None,
        source_event_ids=[event_id],
        source=Source(0, 0, START),
        occurred_at=START,
        valid_from=START,
    )


def change(of: Candidate, revision: int, op: Op = Op.ADDED) -> MemoryChange:
    """What consolidate made of a candidate."""
    return MemoryChange(
        change_id=f"change-{revision}",
        op=op,
        cause=of.cause,
        generation=1,
        tenant=of.tenant,
        user_id=of.user_id,
        revision=revision,
        memory_id=of.memory_id,
        kind=of.kind,
        conversation_id="c1",
        role="user",
        name=None,
        slot=None,
        source_event_ids=of.source_event_ids,
        occurred_at=START,
        valid_from=START,
        valid_to=None,
        recorded_at=START,
        retracted_at=None,
        superseded_by=None,
        text=of.text,
    )


class Story:
    """Writes a log as the stages do."""

    def __init__(self) -> None:
        self.log = LogOfMessages()

    def publish(self, event: Turn | bytes, partition: int = HERE, **options: list[tuple[str, bytes]]) -> int:
        """An event in a partition."""
        key = keys.user_key_bytes(event.user) if isinstance(event, Turn) else None
        return self.log.write(topics.CONVERSATION_EVENTS, partition, event, key=key, **options)

    def settle(
        self,
        name: StageName,
        offset: int,
        *,
        partition: int = HERE,
        standing_in: int | None = None,
        outcome: Outcome = Outcome.APPLIED,
        reason: Reason = Reason.DUPLICATE,
    ) -> None:
        """A ledger entry for one record, in the ledger's partition of the same number unless said otherwise."""
        applied = outcome is Outcome.APPLIED
        self.log.write(
            topics.LEDGER,
            partition if standing_in is None else standing_in,
            LedgerEntry(
                stage=name,
                topic=stage(name).reads.name,
                partition=partition,
                first_offset=offset,
                last_offset=offset,
                applied=int(applied),
                filtered=int(outcome is Outcome.FILTERED),
                dead_lettered=int(outcome is Outcome.DEAD_LETTERED),
                verdicts=[] if applied else [Verdict(offset, outcome, reason)],
                decided_at=SETTLED_AT,
            ),
        )

    def pass_on(self, made: Candidate, revision: int) -> None:
        """One candidate on its way through all stages behind the lanes."""
        at = self.log.write(topics.CANDIDATES, HERE, made)
        self.settle(StageName.EMBED, at)
        at = self.log.write(topics.EMBEDDED, HERE, Embedded(candidate=made, model="m", vector=b""))
        self.settle(StageName.CONSOLIDATE, at)
        at = self.log.write(topics.CHANGES, HERE, change(made, revision))
        self.settle(StageName.INDEX, at)
        user = IndexedUser(MARIA.tenant, MARIA.user_id, revision, [made.memory_id])
        at = self.log.write(topics.INDEXED, HERE, Indexed(generation=1, users=[user], watermarks=[]))
        self.settle(StageName.INVALIDATE, at)


def hop(found: Trace, name: str, number: int = 0) -> Hop:
    """A hop of one stage."""
    return [h for h in found.hops if h.stage == name][number]


def test_a_turn_is_followed_through_all_stages() -> None:
    """Every stage shows up, for the turn and for the fact, with places and times from the log."""
    story = Story()
    at = story.publish(TURN)
    story.settle(StageName.RECORD, at)
    story.settle(StageName.EXTRACT, at)
    story.pass_on(candidate(Lane.RECORD), 1)
    story.pass_on(candidate(Lane.EXTRACT), 2)
    found = trace(story.log, "e1")
    assert (found.tenant, found.user_id, found.type, found.settled) == ("acme", "maria", "turn", True)
    lanes = ["publish", "record", "extract"]
    assert [h.stage for h in found.hops] == [
        *lanes, "embed", "embed", "consolidate", "consolidate", "index", "index", "invalidate", "invalidate"
    ]  # fmt: skip
    assert hop(found, "publish").at == START
    assert all(h.at == SETTLED_AT and h.outcome == "applied" for h in found.hops[1:])
    assert hop(found, "consolidate", 1).detail == "added fact revision 2"
    assert hop(found, "extract").detail == "facts found: 1"


def test_others_are_left_out() -> None:
    """Records of other events, and of other users with the same partition, are not part of the way."""
    story = Story()
    story.settle(StageName.RECORD, story.publish(TURN))
    story.pass_on(candidate(Lane.RECORD, "e2"), 1)
    stranger = msgspec.structs.replace(candidate(Lane.RECORD), user_id="somebody")
    story.log.write(topics.CANDIDATES, HERE, stranger)
    assert {h.stage for h in trace(story.log, "e1").hops} == {"publish", "record", "extract"}


def test_what_no_stage_has_settled_waits() -> None:
    """A record without a ledger entry waits, and the event is not settled."""
    story = Story()
    story.publish(TURN)
    found = trace(story.log, "e1")
    assert not found.settled
    assert hop(found, "record").outcome == "waiting"
    assert hop(found, "record").at is None


def test_an_open_window_is_named() -> None:
    """A turn that extract has taken in, whose window is open, waits there."""
    story = Story()
    at = story.publish(TURN)
    story.settle(StageName.RECORD, at)
    story.settle(StageName.EXTRACT, at)
    turn = WindowTurn("e1", at, "user", None, "Hello", START, START)
    window = Window(tenant="acme", user_id="maria", conversation_id="c1", turns=[turn], context=[])
    story.log.write(topics.WINDOWS, HERE, window, key=b"w")
    assert hop(trace(story.log, "e1"), "extract").detail == "waits in an open window"
    story.log.write(topics.WINDOWS, HERE, None, key=b"w")
    assert hop(trace(story.log, "e1"), "extract").detail == "no fact found in it"


def test_a_duplicate_says_so() -> None:
    """The second publication of an event is another appearance, filtered where the ledger says."""
    story = Story()
    for _ in range(2):
        story.settle(StageName.RECORD, story.publish(TURN))
    for offset in range(2):
        story.log.write(topics.EMBEDDED, HERE, Embedded(candidate=candidate(Lane.RECORD), model="m", vector=b""))
        outcome = Outcome.APPLIED if offset == 0 else Outcome.FILTERED
        story.settle(StageName.CONSOLIDATE, offset, outcome=outcome)
    story.log.write(topics.CANDIDATES, HERE, candidate(Lane.RECORD))
    found = trace(story.log, "e1")
    assert [h.stage for h in found.hops].count("publish") == 2
    assert (hop(found, "consolidate", 1).outcome, hop(found, "consolidate", 1).reason) == ("filtered", Reason.DUPLICATE)


def test_a_rerouted_event_is_followed_to_its_copy() -> None:
    """An event in the wrong partition is filtered there; its copy, found by its origin, goes the way."""
    story = Story()
    nameless = msgspec.structs.replace(TURN, event_id=None)
    at = story.publish(nameless, ELSEWHERE)
    story.settle(StageName.RECORD, at, partition=ELSEWHERE, outcome=Outcome.FILTERED, reason=Reason.REROUTED)
    origin = headers.with_origin(None, Origin(ELSEWHERE, at, 0))
    story.settle(StageName.RECORD, story.publish(nameless, headers=origin))
    name = ids.origin_event_id(ELSEWHERE, at)
    made = candidate(Lane.RECORD, name)
    story.pass_on(made, 1)
    found = trace(story.log, name, tenant="acme", user_id="maria")
    outcomes = {h.partition: h.outcome for h in found.hops if h.stage == "record"}
    assert outcomes == {ELSEWHERE: "filtered", HERE: "applied"}
    assert hop(found, "index").outcome == "applied"


def test_bytes_that_are_no_event_are_found_by_their_place() -> None:
    """A dead letter's name stands in the trace of its place."""
    story = Story()
    at = story.publish(b"\xff", ELSEWHERE)
    story.settle(StageName.RECORD, at, partition=ELSEWHERE, outcome=Outcome.DEAD_LETTERED, reason=Reason.UNDECODABLE)
    found = trace(story.log, ids.origin_event_id(ELSEWHERE, at))
    assert (found.user_id, found.type) == (None, None)
    assert hop(found, "record").detail == f"dead letter record/conversation.events/{ELSEWHERE}/{at}"


@pytest.mark.parametrize("standing_in", topics.ledger_partitions(ELSEWHERE))
def test_an_entry_is_found_wherever_its_batch_wrote_it(standing_in: int) -> None:
    """In its own partition or a lower one, beside entries about other partitions that cover the same offsets."""
    story = Story()
    at = story.publish(b"\xff", ELSEWHERE)
    story.settle(StageName.RECORD, at, partition=HERE, standing_in=standing_in)
    story.settle(StageName.RECORD, at, partition=ELSEWHERE, standing_in=standing_in, outcome=Outcome.FILTERED)
    story.settle(StageName.RECORD, at, partition=ELSEWHERE + 1, standing_in=standing_in)
    assert hop(trace(story.log, ids.origin_event_id(ELSEWHERE, at)), "record").outcome == "filtered"


def test_an_unknown_event_is_an_error_with_a_next_step() -> None:
    """Nothing is made up about an event that is not in the log, nor about another user's."""
    story = Story()
    story.publish(TURN)
    for options in ({}, {"tenant": "other"}, {"user_id": "maria"}):
        with pytest.raises(EventUnknownError) as unknown:
            trace(story.log, "e2" if not options else "e1", **options)
        assert unknown.value.next_step


def test_an_id_of_several_users_must_be_told_apart() -> None:
    """Event ids are a user's own: with two owners, the user has to be named."""
    story = Story()
    story.publish(TURN)
    other = msgspec.structs.replace(TURN, tenant="other")
    story.publish(other, keys.partition_of(other.user, PARTITIONS))
    with pytest.raises(UsageError):
        trace(story.log, "e1")
    assert trace(story.log, "e1", tenant="other").tenant == "other"
