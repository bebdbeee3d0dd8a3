"""`memstream verify` and a store that was wiped, restored from an older copy, or damaged, against a real broker."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # the client does not export it by name
from integration.cli.conftest import Command, PublishRaw, StartWorker

from schemas.ids import UserKey
from schemas.outcome import LedgerEntry
from streams.clients.log_scan import LogScan
from streams.clients.publisher import ConversationPublisher
from streams.clients.status import Status
from streams.embedders.factory import create_embedder
from streams.settings import Settings
from streams.stores.factory import create_store, sqlite_file
from streams.stores.protocol import Store
from topology import topics

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

SAID = "I keep telescope number {n} in Lisbon."
USERS = 12
_LIMIT_S = 60.0

Settled = Callable[[], Status]


def turns(numbers: Collection[int]) -> bytes:
    """Turns of some users, each about a telescope of its own."""
    lines = [
        {
            "type": "turn",
            "user_id": f"u{n % USERS}",
            "conversation_id": f"c{n // 100}",
            "event_id": f"e{n}",
            "role": "user",
            "content": SAID.format(n=n),
        }
        for n in numbers
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def verified(memstream: Command, *arguments: object) -> dict[str, Any]:
    """The report; its exit code must say the same."""
    done = memstream("verify", "--json", *arguments)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if report["sound"] else 1)
    return report


def counts(report: dict[str, Any], which: str = "findings") -> dict[str, int]:
    """Kind to how many."""
    return {finding["kind"]: finding["count"] for finding in report[which]}


def wait_until_sound(memstream: Command) -> dict[str, Any]:
    """Verify until the worker that was just started has mended its store."""
    ends_at_s = time.monotonic() + _LIMIT_S
    while not (report := verified(memstream))["sound"]:
        assert time.monotonic() < ends_at_s, report["findings"]
    return report


def assert_found(memstream: Command, number: int) -> None:
    """The turn is the first thing that a search for it gives."""
    done = memstream("search", f"u{number % USERS}", f"telescope number {number}", "--json", "--limit", 3)
    texts = [result["text"] for result in json.loads(done.stdout)["results"]]
    assert SAID.format(n=number) in texts, texts


def wipe(settings: Settings) -> None:
    """Remove the store's file, as a lost disk does."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{sqlite_file(settings)}{suffix}").unlink(missing_ok=True)


async def with_store(settings: Settings, work: Any) -> None:
    """Open the store beside whoever uses it, and do something to it."""
    store: Store = create_store(settings, dimensions=create_embedder().dimensions)
    await store.open()
    try:
        await work(store)
    finally:
        await store.close()


def await_empty(scan: LogScan, group: str) -> None:
    """A worker that stopped stays a member until its session is over; nobody else may touch the positions before."""
    ends_at_s = time.monotonic() + _LIMIT_S
    while scan.members([group]).get(group):
        assert time.monotonic() < ends_at_s
        time.sleep(0.2)


def set_to_earliest(scan: LogScan, group: str, places: list[TopicPartition]) -> None:
    """As `kafka-consumer-groups.sh --reset-offsets --to-earliest` does."""
    await_empty(scan, group)
    earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    starts = [
        TopicPartition(place.topic, place.partition, future.result(30).offset)
        for place, future in scan.admin.list_offsets(dict.fromkeys(places, earliest)).items()
    ]
    done = scan.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, starts)])[group].result(30)
    assert [place.error for place in done.topic_partitions] == [None] * len(places)


def publish(memstream: Command, numbers: Collection[int]) -> None:
    assert memstream("publish", "-", given=turns(numbers)).returncode == 0


def sound_after(
    memstream: Command, start_worker: StartWorker, settled: Settled, numbers: Collection[int]
) -> dict[str, Any]:
    """What `verify` says once a worker has remembered these turns: all is sound; the worker is stopped again."""
    publish(memstream, numbers)
    worker = start_worker()
    settled()
    report = verified(memstream)
    assert report["sound"], report["findings"]
    worker.stop()
    return report


async def keep_publishing(settings: Settings, is_over: asyncio.Event) -> int:
    """Turns without a pause, some at a time, until it is over; returns how many."""
    first, published, at_once = 1000, 0, 10
    async with ConversationPublisher(settings) as publisher:
        while not is_over.is_set():
            numbers = range(first + published, first + published + at_once)
            await publisher.publish_many(turns(numbers).splitlines())
            published += at_once
    return published


def test_a_wiped_store_is_noticed_and_rebuilt_by_the_next_worker(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings
) -> None:
    """Sound before; no store once the file is gone; sound again, and searchable, after a worker has started."""
    before = sound_after(memstream, start_worker, settled, range(600))
    assert (before["users"], before["changes_pending"]) == (USERS, 0)
    assert before["memories"] >= 600

    wipe(settings)
    for command in (["verify"], ["verify", "--repair"], ["search", "u1", "telescope"]):
        done = memstream(*command)
        assert done.returncode == 3
        assert b"there is no store" in done.stderr
        assert b"next: start a worker" in done.stderr
    assert not sqlite_file(settings).exists()

    start_worker()
    after = wait_until_sound(memstream)
    assert after["memories"] == before["memories"]
    assert after["books"] == before["books"]
    for number in (0, 311, 599):
        assert_found(memstream, number)


def test_a_store_deleted_under_a_worker_stops_it_and_the_next_one_loses_nothing(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings
) -> None:
    """What comes while the file is gone ends the worker with the reason; its successor builds all of it."""
    publish(memstream, range(120))
    worker = start_worker()
    settled()
    wipe(settings)

    publish(memstream, range(120, 240))
    ends_at_s = time.monotonic() + _LIMIT_S
    while worker.exit_code is None:
        assert time.monotonic() < ends_at_s, worker.last_lines(20)
        time.sleep(0.1)
    assert "was deleted or replaced under this process" in "".join(worker.last_lines(50))

    start_worker()
    settled()
    assert wait_until_sound(memstream)["users"] == USERS
    assert_found(memstream, 7)
    assert_found(memstream, 239)


def test_a_store_restored_from_an_older_copy_is_brought_up_to_date(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings, tmp_path: Path
) -> None:
    """What came after the copy is missing until a worker starts; what came before stays."""
    publish(memstream, range(300))
    worker = start_worker()
    settled()
    older = tmp_path / "older.db"
    with sqlite3.connect(sqlite_file(settings)) as live, sqlite3.connect(older) as copy:
        live.backup(copy)
    old = verified(memstream)
    publish(memstream, range(300, 450))
    settled()
    before = verified(memstream)
    assert before["sound"], before["findings"]
    worker.stop()

    wipe(settings)
    older.rename(sqlite_file(settings))
    damaged = verified(memstream)
    assert damaged["memories"] == old["memories"]
    assert counts(damaged)["missing"] == before["memories"] - old["memories"]
    assert counts(damaged)["store_head_behind"] == USERS

    start_worker()
    after = wait_until_sound(memstream)
    assert after["memories"] == before["memories"]
    assert_found(memstream, 17)
    assert_found(memstream, 449)


def test_repair_mends_what_is_missing_strange_or_doubled(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings
) -> None:
    """Damage in the middle, which no worker notices, is named and mended, while a worker runs."""
    publish(memstream, range(240))
    start_worker()
    settled()
    user = UserKey("default", "u3")

    async def damage(store: Store) -> None:
        memories = await store.memories(user)
        await store.delete(user, [memory.memory_id for memory in memories[:5]])

    asyncio.run(with_store(settings, damage))
    with sqlite3.connect(sqlite_file(settings)) as connection:
        connection.execute(
            "UPDATE memories SET record = (SELECT record FROM memories ORDER BY memory_no LIMIT 1), revision = revision"
            " WHERE memory_no = (SELECT max(memory_no) FROM memories)"
        )
    connection.close()
    damaged = verified(memstream)
    assert not damaged["sound"]
    assert counts(damaged)["missing"] >= 5
    assert "default/u3" in " ".join(example for f in damaged["findings"] for example in f["examples"])
    only = verified(memstream, "--user", "u3")
    assert (counts(only)["missing"], only["users"], only["books"]) == (5, 1, [])
    assert verified(memstream, "--user", "u4")["users"] == 1

    shown = memstream("verify", "--repair")
    assert b"memories that the store lacks" in shown.stdout
    assert b"memories written" in shown.stdout
    assert shown.returncode == 0, shown.stdout
    assert verified(memstream)["sound"]
    for number in (3, 15, 27, 39, 51):
        assert_found(memstream, number)


async def test_verification_beside_a_busy_worker_tells_lag_from_damage(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings
) -> None:
    """While events come in and pass the stages, nothing is called wrong that is merely not done yet."""
    publish(memstream, range(100))
    start_worker()
    is_over = asyncio.Event()
    publishing = asyncio.create_task(keep_publishing(settings, is_over))
    pending = 0
    for _ in range(5):
        report = await asyncio.to_thread(verified, memstream)
        assert report["sound"], report["findings"]
        pending += sum(page["pending"] for page in report["books"])
    assert pending > 0
    is_over.set()
    published = await publishing
    await asyncio.to_thread(settled)
    after = await asyncio.to_thread(verified, memstream)
    assert sum(page["pending"] for page in after["books"]) == 0
    assert after["memories"] >= 100 + published


def test_records_that_were_deleted_ahead_of_a_stage_are_named(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings
) -> None:
    """By stage, place and number; repairing the store changes nothing; from the log's start on all is sound again."""
    sound_after(memstream, start_worker, settled, range(40))
    scan = LogScan(settings.kafka, client_id="test")
    name, group = scan.name(topics.CONVERSATION_EVENTS), f"{settings.kafka.namespace}memstream.g1.record"
    before = scan.committed(group, topics.CONVERSATION_EVENTS, range(4))
    publish(memstream, range(40, 100))
    assert verified(memstream)["sound"]
    ends = {partition: kept.stop for partition, kept in scan.bounds(topics.CONVERSATION_EVENTS).items()}
    gone = {partition: ends[partition] - 1 - before[partition] for partition in (1, 2)}
    cut = [TopicPartition(name, partition, ends[partition] - 1) for partition in gone]
    for future in scan.admin.delete_records(cut).values():
        future.result(30)

    report = verified(memstream, "--repair")
    assert counts(report) == counts(report, "left") == {"records_gone": 2 * sum(gone.values())}
    (finding,) = report["findings"]
    assert [example.split(":")[0] for example in finding["examples"]] == [
        f"{stage} conversation.events.v1 {partition}" for partition in gone for stage in ("record", "extract")
    ]
    said = f"at {before[1]}, but the log starts at {ends[1] - 1}: up to {gone[1]} records were deleted"
    assert said in finding["examples"][0]

    for stage in ("record", "extract"):
        set_to_earliest(scan, f"{settings.kafka.namespace}memstream.g1.{stage}", cut)
    start_worker()
    settled()
    after = verified(memstream)
    assert after["sound"], after["findings"]
    assert_found(memstream, 1)


def test_positions_that_were_set_back_are_named_before_anything_is_settled_again(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings
) -> None:
    """The ledger says what a stage has settled; where its group was deleted it goes on behind that."""
    sound_after(memstream, start_worker, settled, range(40))
    scan, group = LogScan(settings.kafka, client_id="test"), f"{settings.kafka.namespace}memstream.g1.record"
    await_empty(scan, group)
    scan.admin.delete_consumer_groups([group])[group].result(30)
    assert verified(memstream)["sound"]

    ends = {partition: kept.stop for partition, kept in scan.bounds(topics.CONVERSATION_EVENTS).items()}
    name = scan.name(topics.CONVERSATION_EVENTS)
    set_to_earliest(scan, group, [TopicPartition(name, partition) for partition in ends])
    report = verified(memstream)
    assert counts(report) == {"position_set_back": sum(ends.values())}
    assert all(": at 0, but what lies before " in example for example in report["findings"][0]["examples"])


def test_books_that_do_not_balance_are_named(
    memstream: Command, start_worker: StartWorker, settled: Settled, settings: Settings
) -> None:
    """Found on a real log, by its place: an entry that settles an offset again, and one where nobody looks for it."""
    publish(memstream, range(50))
    start_worker()
    settled()
    assert verified(memstream)["sound"]
    entry = LedgerEntry(
        stage="record",
        topic=topics.CONVERSATION_EVENTS.name,
        partition=1,
        first_offset=2,
        last_offset=3,
        applied=2,
        filtered=0,
        dead_lettered=0,
        verdicts=[],
        decided_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    name = topics.LEDGER.in_namespace(settings.kafka.namespace)
    producer.produce(name, topics.LEDGER.codec.encode(entry), b"record", partition=0)
    producer.produce(name, topics.LEDGER.codec.encode(entry), b"record", partition=3)
    assert producer.flush(30) == 0

    report = verified(memstream)
    assert counts(report) == {"two_outcomes": 2, "misplaced_entry": 1}
    assert report["findings"][0]["examples"] == ["record conversation.events.v1 1/2 to 3"]
    (misplaced,) = report["findings"][1]["examples"]
    assert misplaced.startswith("memory.ledger.v1 3/")
    assert misplaced.endswith(": speaks of conversation.events.v1 1")
    assert counts(verified(memstream, "--repair"), "left") == counts(report)


def test_dead_letters_and_their_redrive_balance(
    memstream: Command, start_worker: StartWorker, settled: Settled, publish_raw: PublishRaw
) -> None:
    """What cannot be decoded is dead-lettered by both lanes, goes back, and fails again: the books bear it all."""
    publish(memstream, range(40))
    publish_raw(b"no event", key=b"default/u1", partition=2)
    start_worker()
    settled()
    assert memstream("dlq", "redrive", "--all", "--yes").returncode == 0
    settled()
    report = verified(memstream)
    assert report["sound"], report["findings"]
    dead = {page["stage"]: page["dead_lettered"] for page in report["books"]}
    assert (dead["record"], dead["extract"]) == (2, 2)


def test_what_is_away_or_wrong_has_its_exit_code(memstream: Command) -> None:
    """3 where Kafka does not answer, 2 where there are no topics: 1 is for findings only."""
    away = memstream("verify", "--bootstrap-servers", "127.0.0.1:1")
    assert away.returncode == 3
    assert b"next:" in away.stderr
    nothing = memstream("verify", "--namespace", "nobody.was.here.")
    assert nothing.returncode == 2
    assert b"topology apply" in nothing.stderr
