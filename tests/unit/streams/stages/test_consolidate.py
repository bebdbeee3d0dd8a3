"""What consolidate makes of candidates."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process_log import START, InProcessLog

from schemas import headers
from schemas.candidate import Candidate, Embedded, Lane, Source, Watermark
from schemas.ids import UserKey, change_id, derive
from schemas.memory import Head, MemoryChange, Op
from schemas.outcome import Reason
from streams.engine.stage import Output
from streams.errors import BugError
from streams.settings import Settings
from streams.stages.consolidate import Consolidate
from streams.stages.index import Index
from streams.stages.working_set import digest_of, fold
from streams.stores.factory import create_store
from streams.stores.protocol import Store
from topology import keys, topics

USER = UserKey("acme", "u1")
PARTITION = keys.partition_of(USER, 4)
VECTOR = np.eye(1, 4, dtype="<f2").tobytes()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A SQLite store of the test's own."""
    opened = create_store(Settings().replace("store", path=str(tmp_path / "store.db")), dimensions=4)
    await opened.open()
    yield opened
    await opened.close()


def stage(log: InProcessLog, store: Store, *, max_users: int = 100) -> Consolidate:
    return Consolidate(
        store, reader=log, clock=log.clock, generation=1, max_users=max_users, load_deadline=timedelta(seconds=0)
    )


def named(name: str) -> str:
    """A memory id that a test can name."""
    return derive("test", name)


def candidate(
    number: int, *, user: UserKey = USER, kind: str = "turn", text: str = "", source: str = "", memory_id: str = ""
) -> Candidate:
    return Candidate(
        lane=Lane.RECORD if kind == "turn" else Lane.EXTRACT,
        kind=kind,  # type: ignore[arg-type]
        tenant=user.tenant,
        user_id=user.user_id,
        memory_id=named(memory_id or f"{kind}-{user.user_id}-{number}"),
        cause=source or f"e{number}",
        text=text or f"words {number}",
        conversation_id="c1",
        role="user",
        name=None,
        source_event_ids=[source or f"e{number}"],
        source=Source(number, number, START),
        occurred_at=START,
        valid_from=START,
    )


def put(log: InProcessLog, *candidates: Candidate | Watermark) -> None:
    for event in candidates:
        if isinstance(event, Watermark):
            log.append(
                Output(topic=topics.EMBEDDED, partition=PARTITION, key=None, value=topics.EMBEDDED.codec.encode(event))
            )
            continue
        embedded = Embedded(candidate=event, model="test", vector=VECTOR)
        log.append(
            Output(
                topic=topics.EMBEDDED,
                partition=keys.partition_of(event.user, 4),
                key=keys.user_key_bytes(event.user),
                value=topics.EMBEDDED.codec.encode(embedded),
            )
        )


def changes(log: InProcessLog) -> list[MemoryChange]:
    return [event for event in log.decoded(topics.CHANGES) if isinstance(event, MemoryChange)]


async def test_revisions_are_gapless_per_user(store: Store) -> None:
    """Each change of a user takes the next number, also over several batches and among other users."""
    log = InProcessLog()
    for number in range(6):
        put(log, candidate(number, user=UserKey("acme", f"u{number % 2}")))
    await log.run(stage(log, store), max_events=2)

    for user_id in ("u0", "u1"):
        assert [c.revision for c in changes(log) if c.user_id == user_id] == [1, 2, 3]


async def test_the_same_turn_again_is_a_duplicate(store: Store) -> None:
    """In the same batch, in a later one, and after a restart: no change, filtered as duplicate."""
    log = InProcessLog()
    put(log, candidate(1), candidate(1))
    await log.run(stage(log, store))
    put(log, candidate(1))
    await log.run(stage(log, store))

    assert len(changes(log)) == 1
    assert [v.reason for v in log.verdicts["consolidate"]] == [Reason.DUPLICATE, Reason.DUPLICATE]


async def test_the_same_statement_from_another_event_reinforces_the_fact(store: Store) -> None:
    """The text stays, the set of sources grows, and saying it a third time by the same event changes nothing."""
    log = InProcessLog()
    put(
        log,
        candidate(1, kind="fact", text="I live in Bonn.", source="a"),
        candidate(2, kind="fact", text="i live in  BONN", source="b"),
        candidate(3, kind="fact", text="I live in Bonn!", source="b"),
    )
    await log.run(stage(log, store))

    assert [(c.op, c.revision, c.text) for c in changes(log)] == [
        (Op.ADDED, 1, "I live in Bonn."),
        (Op.REINFORCED, 2, "I live in Bonn."),
    ]
    assert changes(log)[1].source_event_ids == ["a", "b"]
    assert changes(log)[1].memory_id == changes(log)[0].memory_id
    assert [v.reason for v in log.verdicts["consolidate"]] == [Reason.DUPLICATE]


async def test_turns_match_by_id_only(store: Store) -> None:
    """Two turns with the same words are two memories."""
    log = InProcessLog()
    put(log, candidate(1, text="Yes."), candidate(2, text="Yes."))
    await log.run(stage(log, store))

    assert [c.op for c in changes(log)] == [Op.ADDED, Op.ADDED]


async def test_a_change_carries_the_memory_its_vector_and_at_last_the_head(store: Store) -> None:
    """CloudEvents attributes and vector stand on each change, the head on the user's last one of the batch."""
    log = InProcessLog()
    put(log, candidate(1), candidate(2))
    await log.run(stage(log, store))

    first, last = log.records[topics.CHANGES.name, PARTITION]
    assert headers.get(first.headers, "ce_id") == changes(log)[0].change_id.encode()
    assert headers.get(first.headers, "ce_type") == headers.CHANGE_TYPE.encode()
    assert headers.get(first.headers, headers.VECTOR) == VECTOR
    assert headers.get(first.headers, headers.HEAD) is None
    assert headers.get(last.headers, headers.HEAD) == log.records[topics.HEADS.name, PARTITION][-1].value()
    assert changes(log)[0].change_id == change_id(named("turn-u1-1"), Op.ADDED, "e1", 0)


async def test_the_head_sums_up_what_the_changes_leave(store: Store) -> None:
    """Revision, count and digest of the newest head are those of the folded changes."""
    log = InProcessLog()
    put(
        log,
        candidate(1),
        candidate(2, kind="fact", text="x", source="a"),
        candidate(3, kind="fact", text="x", source="b"),
    )
    await log.run(stage(log, store), max_events=1)

    head = log.decoded(topics.HEADS)[-1]
    memories = fold(changes(log))[USER].values()
    assert isinstance(head, Head)
    assert (head.revision, head.memories, head.digest) == (3, 2, digest_of(memories))


async def test_watermarks_pass_through_behind_the_changes(store: Store) -> None:
    """They have a type of their own, so that consumers of changes can pass them over."""
    log = InProcessLog()
    put(log, candidate(1), Watermark(Lane.RECORD, 7))
    await log.run(stage(log, store))

    last = log.records[topics.CHANGES.name, PARTITION][-1]
    assert topics.CHANGES.codec.decode(last.value()) == Watermark(Lane.RECORD, 7)
    assert headers.get(last.headers, "ce_type") == headers.WATERMARK_TYPE.encode()


async def test_after_a_restart_a_user_is_loaded_from_the_store_when_it_has_caught_up(store: Store) -> None:
    """With index done, the store's head matches and the log of changes is not read."""
    log = InProcessLog()
    put(log, candidate(1), candidate(2))
    await log.run(stage(log, store))
    await log.run(Index(store, reader=log, generation=1))
    log.records[topics.CHANGES.name, PARTITION] = []
    put(log, candidate(2), candidate(3))
    await log.run(stage(log, store))

    assert [(c.memory_id, c.revision) for c in changes(log)] == [(named("turn-u1-3"), 3)]


async def test_after_a_restart_a_user_is_rebuilt_from_the_log_when_the_store_lags(store: Store) -> None:
    """Index has not run at all: past the deadline the changes themselves say what there is."""
    log = InProcessLog()
    put(log, candidate(1), candidate(2, kind="fact", text="x", source="a"))
    await log.run(stage(log, store))
    put(log, candidate(1), candidate(3, kind="fact", text="X.", source="b"))
    await log.run(stage(log, store))

    assert [(c.op, c.revision) for c in changes(log)] == [(Op.ADDED, 1), (Op.ADDED, 2), (Op.REINFORCED, 3)]


async def test_a_store_that_lies_is_not_believed(store: Store) -> None:
    """Its head matches but a memory is missing: the user is rebuilt from the log."""
    log = InProcessLog()
    put(log, candidate(1), candidate(2))
    await log.run(stage(log, store))
    await log.run(Index(store, reader=log, generation=1))
    await store.delete(USER, [named("turn-u1-1")])
    put(log, candidate(1))
    await log.run(stage(log, store))

    assert len(changes(log)) == 2


async def test_a_log_that_does_not_give_the_head_stops_the_stage(store: Store) -> None:
    """Neither store nor log can be believed: going on would make up revisions."""
    log = InProcessLog()
    put(log, candidate(1), candidate(2))
    await log.run(stage(log, store))
    log.records[topics.CHANGES.name, PARTITION] = log.records[topics.CHANGES.name, PARTITION][:1]
    put(log, candidate(3))

    with pytest.raises(BugError, match="revision 2"):
        await log.run(stage(log, store))


async def test_only_users_that_the_store_has_leave_the_working_set(store: Store) -> None:
    """The set is bounded, but never at the price of losing what only it knows."""
    log = InProcessLog()
    users = [u for number in range(60) if keys.partition_of(u := UserKey("acme", f"v{number}"), 4) == PARTITION]
    running = stage(log, store, max_users=4)
    for number, user in enumerate(users):
        put(log, candidate(number, user=user))
    await log.run(running, max_events=1)
    assert len(running._partitions[PARTITION].users) == len(users)

    await log.run(Index(store, reader=log, generation=1))
    put(log, candidate(99, user=users[0]))
    await log.run(running)
    assert len(running._partitions[PARTITION].users) <= 4


said = st.lists(st.tuples(st.sampled_from(["turn", "fact"]), st.integers(0, 4), st.integers(0, 6)), max_size=25)


@given(said, st.integers(1, 6), st.integers(0, 25))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_changes_do_not_depend_on_batch_sizes_or_restarts(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, int, int]], max_events: int, restart_at: int
) -> None:
    """The same candidates give the same changes, however they are batched and wherever a restart falls."""
    told = [
        candidate(
            n, kind=kind, text=f"text {text}", source=f"s{source}", memory_id=f"{kind}{source if kind == 'turn' else n}"
        )
        for n, (kind, text, source) in enumerate(script)
    ]
    path = tmp_path_factory.mktemp("store") / "store.db"
    opened = create_store(Settings().replace("store", path=str(path)), dimensions=4)
    await opened.open()
    try:
        at_once, in_parts = InProcessLog(), InProcessLog()
        put(at_once, *told)
        await at_once.run(stage(at_once, opened))
        put(in_parts, *told[:restart_at])
        await in_parts.run(stage(in_parts, opened), max_events)
        put(in_parts, *told[restart_at:])
        await in_parts.run(stage(in_parts, opened), max_events)
    finally:
        await opened.close()

    assert changes(in_parts) == changes(at_once)
