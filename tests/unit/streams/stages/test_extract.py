"""What extract does with windows."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from in_process_log import InProcessLog, ManualClock

from schemas import headers
from schemas.candidate import Candidate, Lane, Watermark
from schemas.conversation import ConversationEnded, Idle, Turn
from schemas.ids import UserKey
from schemas.outcome import Reason
from schemas.window import Window
from streams.errors import PoisonError, TransientError
from streams.extractors.protocol import Fact
from streams.stages.extract import Extract
from streams.stages.windows import WindowRule
from topology import keys, topics

PARTITION = keys.partition_of(UserKey("default", "u1"), 4)


class EveryTurn:
    """An extractor that finds each turn a fact, and remembers what it was shown."""

    name = "every-turn"

    def __init__(self) -> None:
        self.shown: list[tuple[list[str], list[str]]] = []

    async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
        self.shown += [([t.event_id for t in w.turns], [t.event_id for t in w.context]) for w in windows]
        return [[Fact(text=t.content, source_event_ids=(t.event_id,)) for t in w.turns] for w in windows]


class Hanging:
    """An extractor that never answers."""

    name = "hanging"

    async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
        await asyncio.Event().wait()
        raise AssertionError


def stage(log: InProcessLog, extractor: EveryTurn | Hanging, *, timeout_s: float = 5) -> Extract:
    return Extract(
        extractor,
        reader=log,
        clock=log.clock,
        rule=WindowRule(max_turns=3, context_turns=1, gap=timedelta(minutes=30)),
        partitions=4,
        idle_after=timedelta(seconds=10),
        timeout=timedelta(seconds=timeout_s),
    )


def turn(number: int, conversation_id: str = "c1") -> Turn:
    return Turn(
        user_id="u1", conversation_id=conversation_id, role="user", content=f"I say {number}.", event_id=f"e{number}"
    )


def facts(log: InProcessLog) -> list[Candidate]:
    return [event for event in log.decoded(topics.CANDIDATES) if isinstance(event, Candidate)]


async def test_a_closed_window_is_extracted_with_its_context() -> None:
    """The extractor sees the turns of the window, and earlier ones as context only."""
    log, extractor = InProcessLog(), EveryTurn()
    for number in range(5):
        log.publish(turn(number))
    log.publish(ConversationEnded(user_id="u1", conversation_id="c1"))
    await log.run(stage(log, extractor))

    assert extractor.shown == [(["e0", "e1", "e2"], []), (["e3", "e4"], ["e2"])]
    assert [fact.source_event_ids for fact in facts(log)] == [["e0"], ["e1"], ["e2"], ["e3"], ["e4"]]


async def test_the_watermark_stays_below_the_oldest_open_window() -> None:
    """Only what has been extracted has passed; when all windows are closed, everything has."""
    log, extracting = InProcessLog(), EveryTurn()
    running = stage(log, extracting)
    log.publish(turn(0, "c1"))
    log.publish(turn(1, "c2"))
    log.publish(ConversationEnded(user_id="u1", conversation_id="c2"))
    await log.run(running)
    log.publish(ConversationEnded(user_id="u1", conversation_id="c1"))
    await log.run(running)

    marks = [event for event in log.decoded(topics.CANDIDATES) if isinstance(event, Watermark)]
    assert marks == [Watermark(Lane.EXTRACT, -1), Watermark(Lane.EXTRACT, 3)]


async def test_open_windows_survive_a_restart() -> None:
    """A new process reads them from their topic and goes on where the old one stopped."""
    log, first, second = InProcessLog(), EveryTurn(), EveryTurn()
    for number in range(4):
        log.publish(turn(number))
    await log.run(stage(log, first))
    log.publish(ConversationEnded(user_id="u1", conversation_id="c1"))
    await log.run(stage(log, second))

    assert first.shown == [(["e0", "e1", "e2"], [])]
    assert second.shown == [(["e3"], ["e2"])]


async def test_the_clock_speaks_through_the_log() -> None:
    """A window that waits too long gets a marker in the log, once, and closes when the marker is read."""
    log, extractor = InProcessLog(), EveryTurn()
    running = stage(log, extractor)
    log.publish(turn(0))
    await log.run(running)

    log.clock.seconds = 9.9
    assert running.due(at_end=frozenset({PARTITION})) == []
    log.clock.seconds = 10.0
    (marker,) = running.due(at_end=frozenset({PARTITION}))
    assert running.due(at_end=frozenset({PARTITION})) == []

    log.append(marker)
    await log.run(running)
    assert extractor.shown == [(["e0"], [])]


async def test_no_marker_while_more_stands_in_the_log() -> None:
    """Extract must stand at the partition's end: a turn that it has not read yet may be the next one of the window."""
    log = InProcessLog()
    running = stage(log, EveryTurn())
    log.publish(turn(0))
    await log.run(running)
    log.clock.seconds = 60

    assert running.due(at_end=frozenset()) == []


async def test_a_marker_overtaken_by_a_turn_is_filtered_as_stale() -> None:
    """The window stays open, and the marker's outcome says why."""
    log, extractor = InProcessLog(), EveryTurn()
    log.publish(turn(0))
    log.publish(turn(1))
    log.publish(Idle(user_id="u1", conversation_id="c1", newest_offset=0))
    await log.run(stage(log, extractor))

    assert extractor.shown == []
    assert [v.reason for v in log.verdicts["extract"]] == [Reason.STALE_MARKER]


async def test_an_extractor_that_hangs_is_a_passing_failure_and_changes_nothing() -> None:
    """The call is bounded; the engine retries; the windows are as they were."""
    log = InProcessLog()
    running = stage(log, Hanging(), timeout_s=0.01)
    log.publish(turn(0))
    log.publish(ConversationEnded(user_id="u1", conversation_id="c1"))

    with pytest.raises(TransientError, match="hanging did not answer"):
        await log.run(running)

    assert log.decoded(topics.CANDIDATES) == []
    assert log.decoded(topics.WINDOWS) == []


@pytest.mark.parametrize("max_events", [1, 2, 3, 100])
async def test_facts_do_not_depend_on_batch_sizes(max_events: int) -> None:
    """The same log gives the same facts with the same ids and causes."""
    log, reference = InProcessLog(clock=ManualClock()), InProcessLog(clock=ManualClock())
    for one in (log, reference):
        for number in range(8):
            one.publish(turn(number, f"c{number % 2}"))
        for name in ("c0", "c1"):
            one.publish(ConversationEnded(user_id="u1", conversation_id=name))
    await log.run(stage(log, EveryTurn()), max_events)
    await reference.run(stage(reference, EveryTurn()))

    assert sorted(facts(log), key=lambda f: f.memory_id) == sorted(facts(reference), key=lambda f: f.memory_id)


class Failing(EveryTurn):
    """Fails for good on any window with one of some turns."""

    def __init__(self, *event_ids: str) -> None:
        super().__init__()
        self.fails_on = set(event_ids)

    async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
        if any(turn.event_id in self.fails_on for window in windows for turn in window.turns):
            raise ValueError("cannot read this")
        return await super().extract(windows)


async def test_a_window_that_cannot_be_read_is_given_up_and_its_neighbours_are_read() -> None:
    """The event that closed it carries it to the dead letters; the conversation goes on with an empty window."""
    log = InProcessLog()
    running = stage(log, Failing("e1"))
    for number in range(3):
        log.publish(turn(number, "bad"))
    for number in range(3, 6):
        log.publish(turn(number, "good"))
    log.publish(turn(6, "bad"))
    log.publish(ConversationEnded(user_id="u1", conversation_id="bad"))
    await log.run(running)

    assert [fact.source_event_ids for fact in facts(log)] == [["e3"], ["e4"], ["e5"], ["e6"]]
    (given_up,) = log.poisoned
    assert (given_up.record.offset, given_up.reason) == (2, Reason.UNREADABLE_WINDOW)
    ((name, raw),) = given_up.headers
    assert name == headers.WINDOW
    assert [turn.event_id for turn in topics.WINDOWS.codec.decode(raw).turns] == ["e0", "e1", "e2"]


async def test_a_dead_letter_of_a_window_that_is_sent_back_is_read_as_that_window() -> None:
    """After a fix, a redriven letter gives the facts of the whole window, once; its record opens nothing."""
    log = InProcessLog()
    failing = Failing("e1")
    running = stage(log, failing)
    for number in range(3):
        log.publish(turn(number))
    await log.run(running)
    (letter,) = log.poisoned

    failing.fails_on.clear()
    log.publish(turn(2), headers=[*letter.headers, (headers.LANE, b"extract")])
    await log.run(running)

    assert [fact.source_event_ids for fact in facts(log)] == [["e0"], ["e1"], ["e2"]]
    assert len(log.poisoned) == 1


async def test_a_lane_that_does_not_exist_keeps_no_turn_from_its_window() -> None:
    """As in record: both lanes do their work."""
    log = InProcessLog()
    for number in range(3):
        log.publish(turn(number), headers=[(headers.LANE, b"junk")])
    await log.run(stage(log, Failing()))

    assert [fact.source_event_ids for fact in facts(log)] == [["e0"], ["e1"], ["e2"]]
    assert log.verdicts == {}


async def test_a_window_of_another_user_in_a_header_is_refused() -> None:
    """Anyone may write headers; nobody may speak for others with one."""
    log = InProcessLog()
    running = stage(log, EveryTurn())
    theirs = Window(tenant="default", user_id="u2", conversation_id="c1", turns=[], context=[])
    log.publish(turn(0), headers=[(headers.WINDOW, topics.WINDOWS.codec.encode(theirs))])

    with pytest.raises(PoisonError, match="not one of the record's user"):
        await log.run(running)


async def test_an_extractor_that_lets_the_networks_errors_through_is_waited_for() -> None:
    """A refused connection says nothing about the window."""

    class Unreachable(EveryTurn):
        async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
            raise ConnectionRefusedError("nobody there")

    log = InProcessLog()
    log.publish(turn(0))
    log.publish(ConversationEnded(user_id="u1", conversation_id="c1"))
    with pytest.raises(TransientError, match="ConnectionRefusedError"):
        await log.run(stage(log, Unreachable()))
