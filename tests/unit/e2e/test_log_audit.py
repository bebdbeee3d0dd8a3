"""The audit of the end-to-end tests can fail: it accepts a sound history and rejects every way of spoiling it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from e2e.conversations import generate
from e2e.log_audit import check_dead_letters, check_facts, check_log, check_store
from e2e.log_history import LogHistory, LogRecord
from in_process_log import InProcessLog, ManualClock, Record

from schemas.candidate import Candidate, Embedded, Watermark
from schemas.conversation import ConversationEnded, Turn
from schemas.indexed import Indexed
from schemas.memory import Head, MemoryChange
from schemas.outcome import DeadLetter, LedgerEntry, Outcome, Reason, Verdict
from streams.settings import Settings
from streams.stages import consolidate, embed, extract, index, record
from streams.stages.invalidate import Invalidate
from topology.graph import GRAPH, StageSpec
from topology.topics import (
    CANDIDATES,
    CHANGES,
    CONVERSATION_EVENTS,
    DLQ,
    EMBEDDED,
    HEADS,
    INDEXED,
    LEDGER,
    TOPICS,
    TopicSpec,
)

PARTITIONS = 2
Spoil = Callable[[LogHistory], None]


class NoCache:
    """A cache that takes everything."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def invalidate(self, versions: object, memory_ids: object) -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A SQLite store of the test's own."""
    return Settings().replace("store", path=str(tmp_path / "store.db")).replace("kafka", partitions=PARTITIONS)


@pytest.fixture
async def history(settings: Settings) -> LogHistory:
    """What a run without faults leaves: some users, in several batches, and one misplaced turn."""
    clock = ManualClock()
    log = InProcessLog(partitions=PARTITIONS, clock=clock)
    conversations = generate(7, users=6, turns=60)
    for event in conversations.events:
        log.publish(event)
    log.publish(conversations.turns[0], key=None)
    recording = record.create(settings, clock)
    verdicts = {recording.spec.name: await run(log, recording)}
    for conversation in {(turn.user, turn.conversation_id): turn for turn in conversations.turns}.values():
        log.publish(end_of(conversation))
    for partition, more in (await run(log, recording)).items():
        verdicts[recording.spec.name].setdefault(partition, []).extend(more)
    extracting = extract.create(settings, clock, reader=log)
    consolidating = consolidate.create(settings, clock, reader=log)
    indexing = index.create(settings, clock, reader=log)
    stages: list[Any] = [
        extracting,
        embed.create(settings, clock),
        consolidating,
        indexing,
        Invalidate(NoCache()),  # type: ignore[arg-type]
    ]
    await consolidating.open()
    await indexing.open()
    verdicts |= {stage.spec.name: await run(log, stage) for stage in stages}
    await consolidating.close()
    await indexing.close()
    history = LogHistory(PARTITIONS)
    for topic in TOPICS:
        for partition in range(PARTITIONS):
            for stored in log.records.get((topic.name, partition), []):
                append(history, topic, partition, stored.stored_key, stored.stored_value, stored)
    for spec in GRAPH:
        for partition in range(PARTITIONS):
            settle(history, spec, partition, verdicts[spec.name].get(partition, []))
    return history


async def run(log: InProcessLog, stage: Any) -> dict[int, list[Verdict]]:
    """Run one stage over everything; its verdicts by partition."""
    found: dict[int, list[Verdict]] = {}
    for decision in await log.run(stage, max_events=9):
        for partition, verdicts in decision.verdicts.items():
            found.setdefault(partition, []).extend(verdicts)
    return found


def end_of(turn: Turn) -> ConversationEnded:
    """The end of a turn's conversation."""
    return ConversationEnded(tenant=turn.tenant, user_id=turn.user_id, conversation_id=turn.conversation_id)


def append(
    history: LogHistory,
    topic: TopicSpec,
    partition: int,
    key: bytes | None,
    value: bytes | None,
    stored: Record | None = None,
) -> LogRecord:
    """One more record; on our own topics it stands two behind the last one, as behind a transaction's marker."""
    records = history.records.setdefault((topic.name, partition), [])
    offset = len(records) if topic is CONVERSATION_EVENTS else 2 * len(records)
    timestamp_ms, headers = (stored.timestamp_ms, stored.headers) if stored else (0, None)
    event = None if value is None else topic.codec.decode(value)
    records.append(LogRecord(topic.name, partition, offset, timestamp_ms, key, value, headers or [], event))
    return records[-1]


def settle(history: LogHistory, spec: StageSpec, partition: int, verdicts: list[Verdict]) -> None:
    """Books of one stage and partition: an entry for the first record, of a batch over all partitions; one for others.

    The first stands in the ledger's partition 0, as such a batch writes it, the other in that of its own number.
    """
    records = history.of(spec.reads, partition)
    judged = {records[v.offset].offset: Verdict(records[v.offset].offset, v.outcome, v.reason) for v in verdicts}
    for part, standing_in in ((records[:1], 0), (records[1:], partition)):
        if part:
            mine = [judged[r.offset] for r in part if r.offset in judged]
            entry = LedgerEntry(
                stage=spec.name,
                topic=spec.reads.name,
                partition=partition,
                first_offset=part[0].offset,
                last_offset=part[-1].offset,
                applied=len(part) - len(mine),
                filtered=len(mine),
                dead_lettered=0,
                verdicts=mine,
                decided_at=ManualClock().now(),
            )
            append(history, LEDGER, standing_in, spec.name.encode(), LEDGER.codec.encode(entry))


# --- ways to spoil a history ---


def places(history: LogHistory, topic: TopicSpec, kind: type[Any]) -> list[tuple[list[LogRecord], int]]:
    """Where records of one kind stand."""
    return [
        (history.of(topic, partition), index)
        for partition in range(PARTITIONS)
        for index, one in enumerate(history.of(topic, partition))
        if isinstance(one.event, kind)
    ]


def with_event(one: LogRecord, **fields: Any) -> LogRecord:
    """The same record with another event."""
    event = msgspec.structs.replace(one.event, **fields)
    return LogRecord(one.topic, one.partition, one.offset, one.timestamp_ms, one.key, one.value, one.headers, event)


def drop(topic: TopicSpec, kind: type[Any], index: int = 1) -> Spoil:
    """Lose a record."""

    def spoil(history: LogHistory) -> None:
        records, position = places(history, topic, kind)[index]
        del records[position]

    return spoil


def double(topic: TopicSpec, kind: type[Any], index: int = 1) -> Spoil:
    """Write a record a second time, right behind itself."""

    def spoil(history: LogHistory) -> None:
        records, position = places(history, topic, kind)[index]
        one = records[position]
        again = LogRecord(
            one.topic, one.partition, one.offset + 1, one.timestamp_ms, one.key, one.value, one.headers, one.event
        )
        records.insert(position + 1, again)

    return spoil


def swap(topic: TopicSpec, kind: type[Any], index: int = 1) -> Spoil:
    """Let two neighbours change places."""

    def spoil(history: LogHistory) -> None:
        (records, one), (same, other) = places(history, topic, kind)[index : index + 2]
        assert records is same
        records[one], records[other] = records[other], records[one]

    return spoil


def change(topic: TopicSpec, kind: type[Any], fields: Callable[[Any], dict[str, Any]], index: int = 1) -> Spoil:
    """Let a record say something else."""

    def spoil(history: LogHistory) -> None:
        records, position = places(history, topic, kind)[index]
        records[position] = with_event(records[position], **fields(records[position].event))

    return spoil


def lift(history: LogHistory) -> None:
    """Let an entry stand above the partition that it is about."""
    records = history.of(LEDGER, 0)
    entry = records.pop(1).event
    append(history, LEDGER, 1, entry.stage.encode(), LEDGER.codec.encode(entry))


def hide_users(history: LogHistory) -> None:
    """Let the last notice that speaks of users speak of none."""
    records, position = [at for at in places(history, INDEXED, Indexed) if at[0][at[1]].event.users][-1]
    records[position] = with_event(records[position], users=[])


async def test_a_sound_history_passes(history: LogHistory, settings: Settings) -> None:
    """No check finds fault with a run without faults, and every kind of record is there to be checked."""
    assert check_log(history) == []
    assert await check_facts(history, settings) == []
    assert await check_store(history, settings) == []
    kinds = {Candidate: CANDIDATES, Embedded: EMBEDDED, MemoryChange: CHANGES, Indexed: INDEXED, Head: HEADS}
    assert all(len(places(history, topic, kind)) > 1 for kind, topic in kinds.items())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(drop(CANDIDATES, Candidate), "turn candidate number", id="a candidate is lost"),
        pytest.param(double(CANDIDATES, Candidate), "turn candidate number", id="a candidate is doubled"),
        pytest.param(swap(CANDIDATES, Candidate), "turn candidate number", id="two candidates are swapped"),
        pytest.param(drop(EMBEDDED, Embedded), "embedded candidate number", id="an embedded one is lost"),
        pytest.param(double(EMBEDDED, Embedded), "embedded candidate number", id="an embedded one is doubled"),
        pytest.param(drop(CHANGES, MemoryChange), "comes next", id="a change is lost"),
        pytest.param(double(CHANGES, MemoryChange), "stands there 2 times", id="a change is doubled"),
        pytest.param(
            change(CHANGES, MemoryChange, lambda c: {"revision": c.revision + 1}),
            "comes next",
            id="a revision is skipped",
        ),
        pytest.param(
            change(CHANGES, MemoryChange, lambda c: {"memory_id": "another"}),
            "with another digest",
            id="a change is about another memory",
        ),
        pytest.param(drop(LEDGER, LedgerEntry, 0), "nothing from 0", id="the first entry is lost"),
        pytest.param(drop(LEDGER, LedgerEntry), "are not in it", id="the last entry is lost"),
        pytest.param(double(LEDGER, LedgerEntry), "is settled twice", id="an entry is doubled"),
        pytest.param(
            change(LEDGER, LedgerEntry, lambda e: {"applied": e.applied + 1}),
            "records from",
            id="an entry counts wrong",
        ),
        pytest.param(
            change(LEDGER, LedgerEntry, lambda e: {"first_offset": e.first_offset - 1}),
            "is settled twice",
            id="two entries overlap",
        ),
        pytest.param(
            change(
                LEDGER,
                LedgerEntry,
                lambda e: {"verdicts": [Verdict(10_000, Outcome.FILTERED, Reason.DUPLICATE)]},
            ),
            "which is not in it",
            id="a verdict speaks of a stranger",
        ),
        pytest.param(lift, "in the wrong place", id="an entry stands where nobody looks for it"),
        pytest.param(
            change(LEDGER, LedgerEntry, lambda _: {"partition": PARTITIONS}),
            "which has none",
            id="an entry is about no partition",
        ),
        pytest.param(change(HEADS, Head, lambda h: {"digest": bytes(16)}, -1), "the head of", id="a head lies"),
        pytest.param(drop(HEADS, Head, -1), "the head of", id="a head is lost"),
        pytest.param(hide_users, "the newest is", id="the last notice forgets its users"),
        pytest.param(double(INDEXED, Indexed), "is announced at revision", id="a notice is doubled"),
        pytest.param(drop(INDEXED, Indexed, -1), "the watermark of", id="the last watermarks are lost"),
        pytest.param(
            change(CANDIDATES, Watermark, lambda _: {"offset": -1}, -1), "falls back", id="a watermark falls back"
        ),
    ],
)
async def test_a_spoilt_history_is_rejected(history: LogHistory, spoil: Spoil, said: str) -> None:
    """Each fault is found, and its sentence says what it is."""
    spoil(history)
    findings = check_log(history)
    assert any(said in finding for finding in findings), findings


async def test_facts_that_a_replay_does_not_find_are_rejected(history: LogHistory, settings: Settings) -> None:
    """A fact candidate that was lost is found by reading the log again."""
    candidates = [records[at].event for records, at in places(history, CANDIDATES, Candidate)]
    first_fact = next(index for index, candidate in enumerate(candidates) if candidate.kind == "fact")
    drop(CANDIDATES, Candidate, first_fact)(history)
    assert any("fact candidate number" in finding for finding in await check_facts(history, settings))


async def test_a_store_that_differs_from_the_log_is_rejected(history: LogHistory, settings: Settings) -> None:
    """A memory that only the log has and one that only the store has are both found."""
    drop(CHANGES, MemoryChange, 0)(history)
    findings = await check_store(history, settings)
    assert any("that the log has not" in finding for finding in findings)
    assert any("the store holds" in finding for finding in findings)


def letter_about(one: LogRecord, **fields: Any) -> DeadLetter:
    """A whole letter about a record."""
    letter = DeadLetter(
        stage="record",
        topic=one.topic,
        partition=one.partition,
        offset=one.offset,
        recorded_at=ManualClock().now(),
        key=one.key,
        value=one.value,
        headers=[*one.headers],
        reason=Reason.UNDECODABLE,
        error="no event",
        attempts=1,
        failed_at=ManualClock().now(),
    )
    return msgspec.structs.replace(letter, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], "but no letter"),
        ([{"value": b"cut"}], "does not hold the bytes"),
        ([{"headers": [("traceparent", b"1")]}], "does not hold the headers"),
        ([{}, {}], "2 letters of record"),
        ([{}, {"offset": 999}], "no verdict"),
    ],
)
def test_dead_letters_that_do_not_fit_the_books_are_rejected(fields: list[dict[str, Any]], said: str) -> None:
    """A missing letter, one that lost something, a doubled one and one about nothing are all found."""
    history = LogHistory(1)
    bad = LogRecord(CONVERSATION_EVENTS.name, 0, 0, 1_700_000_000_000, b"key", b"bad", [], None)
    history.records[CONVERSATION_EVENTS.name, 0] = [bad]
    entry = LedgerEntry(
        stage="record",
        topic=CONVERSATION_EVENTS.name,
        partition=0,
        first_offset=0,
        last_offset=0,
        applied=0,
        filtered=0,
        dead_lettered=1,
        verdicts=[Verdict(0, Outcome.DEAD_LETTERED, Reason.UNDECODABLE)],
        decided_at=ManualClock().now(),
    )
    append(history, LEDGER, 0, b"record", LEDGER.codec.encode(entry))
    append(history, DLQ, 0, bad.key, DLQ.codec.encode(letter_about(bad)))
    assert check_dead_letters(history) == []

    history.records[DLQ.name, 0].clear()
    for changed in fields:
        append(history, DLQ, 0, bad.key, DLQ.codec.encode(letter_about(bad, **changed)))
    assert any(said in finding for finding in check_dead_letters(history))
