"""One stage in the engine on a real Kafka: what becomes of a batch when something in it, or outside, goes wrong."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import bad_headers
import pytest
from e2e.log_audit import assert_sound, check_dead_letters, check_ledger
from e2e.log_history import LogFollower, LogHistory

from schemas.codec import CONVERSATION_EVENTS as EVENT_CODEC
from schemas.conversation import Turn
from schemas.outcome import DeadLetter, LedgerEntry, Reason
from streams.engine.chunk import Lease
from streams.engine.stage import Decision, MicroBatch, Output, StatelessStage
from streams.errors import BugError, PoisonError, RateLimitedError, RefusedError, TransientError
from streams.settings import Settings
from topology import graph
from topology.topics import CANDIDATES, DLQ, LEDGER

pytestmark = pytest.mark.stack

SPEC = graph.stage(graph.StageName.RECORD)


class Copies(StatelessStage):
    """Writes what each turn says to the next topic; tests say when it fails.

    Args:
        fail: called with each turn; raises what the test wants.
    """

    spec = SPEC

    def __init__(self, fail: Callable[[Turn], None] = lambda _: None) -> None:
        self._fail = fail
        self.batches = 0

    async def decide(self, batch: MicroBatch[Turn]) -> Decision:
        """One output a turn."""
        self.batches += 1
        decision = Decision()
        for record in batch.records:
            self._fail(record.event)
            decision.outputs.append(
                Output(
                    topic=CANDIDATES,
                    partition=record.partition,
                    key=record.key,
                    value=self.output_of(record.event),
                )
            )
        return decision

    def output_of(self, turn: Turn) -> bytes:
        """The value that a turn becomes."""
        return turn.content.encode()


@pytest.fixture
def settings(light_settings: Settings) -> Settings:
    """Quick retries."""
    return light_settings.replace("retry", first_delay=timedelta(milliseconds=10), max_delay=timedelta(milliseconds=50))


@pytest.fixture
def shared(each_protocol: Settings, settings: Settings) -> Settings:
    """The same under each group protocol, for tests in which partitions change hands."""
    return settings.replace("kafka", group_protocol=each_protocol.kafka.group_protocol)


def copied(history: LogHistory) -> list[bytes | None]:
    """Everything that the stage wrote, partition by partition."""
    return [record.value for p in range(history.partitions) for record in history.of(CANDIDATES, p)]


def in_log_order(history: LogHistory, *, without: Callable[[str], bool] = lambda _: False) -> list[bytes]:
    """What it had to write."""
    return [
        record.event.content.encode()
        for p in range(history.partitions)
        for record in history.of(SPEC.reads, p)
        if isinstance(record.event, Turn) and not without(record.event.content)
    ]


async def settled(follower: LogFollower) -> LogHistory:
    """The log once the stage has settled everything; its books balance."""
    drained = await asyncio.to_thread(follower.wait_until_drained, timeout_s=40, stages=[SPEC], windows_closed=False)
    assert_sound([*check_ledger(drained, SPEC), *check_dead_letters(drained)])
    return drained


async def test_every_event_is_settled_once_and_in_order(
    settings: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """Without a failure each event gives one output, in its partition and in log order, in many batches."""
    stage = Copies()
    await run(stage, settings.replace("batch", max_events=50))
    publish([f"turn {n}" for n in range(1000)])
    history = await settled(follower)
    assert copied(history) == in_log_order(history)
    assert stage.batches >= 20


async def test_a_batch_writes_its_ledger_entries_to_its_lowest_partition(
    settings: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """One entry for each of its partitions, however many it has, all in one partition of the ledger."""
    publish([f"turn {n}" for n in range(200)])
    await run(Copies(), settings.replace("batch", max_events=50))
    history = await settled(follower)
    batches: dict[datetime, list[tuple[int, int]]] = defaultdict(list)
    for record, entry in history.events(LEDGER, LedgerEntry):
        batches[entry.decided_at].append((record.partition, entry.partition))
    assert max(len(entries) for entries in batches.values()) > 1, "no batch has two partitions: this proves nothing"
    for entries in batches.values():
        about = [partition for _, partition in entries]
        assert len(set(about)) == len(about)
        assert {standing_in for standing_in, _ in entries} == {min(about)}


async def test_a_stage_that_opens_a_lane_takes_one_batch_an_interval(
    settings: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """What comes after a rest goes at once; what comes within the interval behind it goes together."""
    settings = settings.replace("batch", max_age=timedelta(milliseconds=20), min_interval=timedelta(seconds=4))
    worker = await run(Copies(), settings)
    publish(["turn 0"])
    await worker.until(lambda: worker.runner.progress.batches == 1, within_s=3.0)
    for n in range(1, 6):
        publish([f"turn {n}"])
        await asyncio.sleep(0.1)
    assert worker.runner.progress.batches == 1, "what came within the interval did not wait for its end"
    history = await settled(follower)
    assert copied(history) == in_log_order(history)
    assert worker.runner.progress.batches == 2


async def test_a_poison_event_is_isolated_and_its_neighbours_are_applied(
    settings: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """Bisecting finds each event that the stage fails on; only those are dead-lettered, and the order stays."""

    def fail(turn: Turn) -> None:
        if turn.content.startswith("poison"):
            raise ValueError("the stage cannot bear this")

    contents = [f"poison {n}" if n in {3, 4, 77, 199} else f"turn {n}" for n in range(200)]
    publish(contents)
    stage = Copies(fail)
    running = await run(stage, settings)
    history = await settled(follower)
    assert copied(history) == in_log_order(history, without=lambda content: content.startswith("poison"))
    letters = [letter for _, letter in history.events(DLQ, DeadLetter)]
    assert len(letters) == 4
    assert {letter.reason for letter in letters} == {Reason.POISON}
    assert all("ValueError: the stage cannot bear this" in letter.error for letter in letters)
    assert running.runner.progress.dead_letters == 4


async def test_headers_that_cannot_be_read_count_as_none(
    settings: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """An event with such headers is handled all the same, and can become a dead letter after any number of tries."""

    def fail(turn: Turn) -> None:
        if turn.content == "poison":
            raise ValueError("the stage cannot bear this")

    publish([f"turn {n}" for n in range(20)])
    said = [
        EVENT_CODEC.encode(Turn(user_id="u", conversation_id="c", role="user", content=c)) for c in ("hi", "poison")
    ]
    topic = SPEC.reads.in_namespace(settings.kafka.namespace)
    records = [(b"default/u", value) for value in (*said, b"no event")]
    await asyncio.to_thread(bad_headers.produce, settings.kafka.bootstrap_servers, topic, 0, records)
    await run(Copies(fail), settings)
    history = await settled(follower)
    assert b"hi" in copied(history)
    assert len(copied(history)) == 21
    letters = [letter for _, letter in history.events(DLQ, DeadLetter)]
    assert [(letter.reason, letter.headers) for letter in letters] == [(Reason.POISON, []), (Reason.UNDECODABLE, [])]


async def test_a_poison_error_gives_the_letter_its_reason(
    settings: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """A stage that knows why it cannot handle an event says so, and ledger and letter carry it."""

    def fail(turn: Turn) -> None:
        if turn.content == "large":
            raise PoisonError("too much", reason=Reason.OVERSIZE)

    publish(["a", "large", "b"], users=1)
    await run(Copies(fail), settings)
    history = await settled(follower)
    assert copied(history) == [b"a", b"b"]
    assert [letter.reason for _, letter in history.events(DLQ, DeadLetter)] == [Reason.OVERSIZE]


async def test_an_output_that_its_topic_refuses_dead_letters_the_event_that_made_it(
    settings: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """The broker aborts the batch's transaction; its halves are decided again until the event stands alone."""

    class Swelling(Copies):
        def output_of(self, turn: Turn) -> bytes:
            if turn.content == "swells":
                return random.Random(1).randbytes(CANDIDATES.max_message_bytes + 1000)
            return super().output_of(turn)

    contents = ["swells" if n == 5 else f"turn {n}" for n in range(16)]
    publish(contents)
    await run(Swelling(), settings)
    history = await settled(follower)
    assert copied(history) == in_log_order(history, without=lambda content: content == "swells")
    assert ["RecordTooLargeError" in letter.error for _, letter in history.events(DLQ, DeadLetter)] == [True]


@pytest.mark.parametrize("error", [TransientError, RateLimitedError])
async def test_a_transient_error_is_retried_and_loses_nothing(
    settings: Settings,
    run: Callable[..., Any],
    publish: Callable[..., list[Turn]],
    follower: LogFollower,
    error: type[TransientError],
) -> None:
    """The same batch is decided again, whole, until it works; nothing is dead-lettered and nothing comes twice."""
    left = [5]

    def fail(_: Turn) -> None:
        if left[0]:
            left[0] -= 1
            raise error("away for a moment")

    publish([f"turn {n}" for n in range(100)])
    running = await run(Copies(fail), settings)
    history = await settled(follower)
    assert copied(history) == in_log_order(history)
    assert running.runner.progress.retries == 5
    assert not list(history.events(DLQ, DeadLetter))


@pytest.mark.parametrize("error", [RefusedError, BugError])
async def test_an_error_that_nobody_can_wait_out_stops_the_stage_with_the_batch_uncommitted(
    settings: Settings,
    run: Callable[..., Any],
    publish: Callable[..., list[Turn]],
    follower: LogFollower,
    error: type[Exception],
) -> None:
    """The error comes out of `run`, no topic has a trace of the batch, and a later worker does all of it."""

    def fail(turn: Turn) -> None:
        if turn.content == "turn 7":
            raise error("somebody must change something first")

    publish([f"turn {n}" for n in range(20)], users=1)
    stopped = await run(Copies(fail), settings)
    with pytest.raises(error, match="somebody must change something"):
        await asyncio.wait_for(stopped.running, 30)
    await stopped.stop()
    await asyncio.to_thread(follower.read_on)
    assert not copied(follower.history)
    assert not any(follower.history.of(LEDGER, p) for p in range(settings.kafka.partitions))

    await run(Copies(), settings)
    history = await settled(follower)
    assert copied(history) == in_log_order(history)


async def test_partitions_that_were_added_stop_the_stage(settings: Settings, run: Callable[..., Any]) -> None:
    """A worker refuses another count at its start, so one that runs must not go on with it."""
    running = await run(Copies(), settings)
    added = settings.kafka.partitions
    with pytest.raises(RefusedError, match=rf"partitions \[{added}\] were added"):
        await running.runner.assigned([Lease(added, 0), Lease(0, 0)])


class Held(Copies):
    """Copies, but batches wait until the test lets them go.

    Args:
        free: so many batches do not wait.
    """

    def __init__(self, *, free: int = 0) -> None:
        super().__init__()
        self._free = free
        self.may_go = asyncio.Event()

    async def decide(self, batch: MicroBatch[Turn]) -> Decision:
        """Wait, then copy."""
        decision = await super().decide(batch)
        if self.batches > self._free:
            await self.may_go.wait()
        return decision


async def test_a_stage_that_leaves_in_order_hands_over_without_a_gap_or_an_overlap(
    shared: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """What it had taken in and not settled when it was stopped, its successor settles."""
    settings = shared.replace("batch", max_events=20)
    publish([f"turn {n}" for n in range(600)])
    held = Held(free=5)
    first = await run(held, settings)
    await first.until(lambda: held.batches == 6 and first.runner.progress.batches == 5)
    leases = list(first.runner._ownership._leases.values())
    stopping = asyncio.create_task(first.stop())
    async with asyncio.timeout(30):
        while not all(lease.closing for lease in leases):
            assert not stopping.done()
            await asyncio.sleep(0.02)
    held.may_go.set()
    await stopping
    done = first.runner.progress.records
    assert first.runner.progress.batches == 6
    assert done < 600
    second = await run(Copies(), settings)
    history = await settled(follower)
    assert copied(history) == in_log_order(history)
    assert done + second.runner.progress.records == 600


async def test_a_batch_that_is_open_when_partitions_go_is_committed_before_they_do(
    shared: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """The rebalance waits for it, its commit counts in the new generation, and nothing is delivered again."""
    settings = shared.replace("batch", max_age=timedelta(seconds=1))  # one batch for all partitions
    publish([f"turn {n}" for n in range(200)])
    held = Held()
    first = await run(held, settings, "first")
    await first.until(lambda: held.batches == 1 and len(first.runner._open[0].raw.leases) == 4)
    second = await run(Copies(), settings, "second")
    await first.until(lambda: any(lease.closing for lease in first.runner._ownership._leases.values()))
    held.may_go.set()
    deadline_s = settings.worker.revoke_deadline.total_seconds()
    await second.until(lambda: len(second.runner._ownership._leases) == 2, within_s=deadline_s - 2)
    history = await settled(follower)
    assert copied(history) == in_log_order(history)
    assert (first.runner.progress.records, second.runner.progress.records) == (200, 0)


async def test_a_batch_that_outlives_the_revoke_deadline_is_dropped_and_done_by_the_next_owner(
    shared: Settings, run: Callable[..., Any], publish: Callable[..., list[Turn]], follower: LogFollower
) -> None:
    """Partitions go when the deadline is over; what they had in the open batch is settled once, by their new owner."""
    settings = shared.replace("worker", revoke_deadline=timedelta(seconds=1))
    settings = settings.replace("batch", max_age=timedelta(seconds=1))  # one batch for all partitions
    publish([f"turn {n}" for n in range(200)])
    held = Held()
    first = await run(held, settings, "first")
    await first.until(lambda: held.batches == 1 and len(first.runner._open[0].raw.leases) == 4)
    second = await run(Copies(), settings, "second")
    await second.until(
        lambda: len(second.runner._ownership._leases) == 2 and second.runner.progress.records > 0, within_s=15
    )
    assert first.runner.progress.records == 0
    held.may_go.set()
    history = await settled(follower)
    assert copied(history) == in_log_order(history)
    assert first.runner.progress.records + second.runner.progress.records == 200
