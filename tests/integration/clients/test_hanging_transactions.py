"""Open transactions on a real Kafka: which of them count as hanging, and who tells of them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import pytest
from confluent_kafka import Producer

from streams.clients.hanging_transactions import HANGS_AFTER, HangingTransaction, find_hanging
from streams.clients.log_scan import LogScan
from streams.clients.status import status_reader
from streams.clients.verification.findings import Kind
from streams.clients.verification.report import Report, Scope
from streams.clients.verification.verifier import Verifier
from streams.clock import SystemClock
from streams.embedders.factory import create_embedder
from streams.engine import kafka
from streams.settings import Settings
from streams.stores.factory import create_store
from topology.topics import CANDIDATES, CHANGES, CONVERSATION_EVENTS, EMBEDDED, LEDGER

pytestmark = pytest.mark.stack

STANDING_FOR = timedelta(seconds=2)


@pytest.fixture
def scan(light_settings: Settings) -> LogScan:
    """Looks at the test's topics."""
    return LogScan(light_settings.kafka, client_id="test")


@pytest.fixture
def producer(light_settings: Settings) -> Producer:
    """A transactional producer that is ready."""
    made = Producer(
        kafka.transactional_producer(
            light_settings.kafka, client_id="test", transactional_id=light_settings.kafka.namespace + "id"
        )
        | {"transaction.timeout.ms": 60_000}  # the broker must not end it while a test looks
    )
    made.init_transactions(30)
    return made


def write(producer: Producer, topic: str, partition: int, *values: bytes, age: timedelta = timedelta(0)) -> None:
    """Records of the open transaction, all of them in the log."""
    timestamp_ms = int((SystemClock().now() - age).timestamp() * 1000)
    for value in values:
        producer.produce(topic, value=value, partition=partition, timestamp=timestamp_ms)
    assert producer.flush(20) == 0


def test_a_transaction_that_does_not_end_is_found_where_it_begins(scan: LogScan, producer: Producer) -> None:
    """Topic, partition, first offset and what stands behind it; after its end there is nothing."""
    topic = scan.name(CANDIDATES)
    producer.begin_transaction()
    write(producer, topic, 1, b"committed")
    producer.commit_transaction(20)
    producer.begin_transaction()
    write(producer, topic, 1, b"open", b"open too")
    # The committed record and its marker stand before it.
    hanging = HangingTransaction(topic, 1, 2, 2, STANDING_FOR.total_seconds())
    assert find_hanging(scan, [CANDIDATES, EMBEDDED], standing_for=STANDING_FOR) == [hanging]
    assert find_hanging(scan, [CANDIDATES], standing_for=STANDING_FOR, partitions=[0, 2, 3]) == []
    producer.abort_transaction(20)
    assert find_hanging(scan, [CANDIDATES, EMBEDDED], standing_for=STANDING_FOR) == []


def test_transactions_that_end_one_after_the_other_do_not_hang(scan: LogScan, producer: Producer) -> None:
    """Also when one is open at every look."""
    with committing(producer, scan.name(CANDIDATES)):
        assert find_hanging(scan, [CANDIDATES], standing_for=STANDING_FOR) == []


@contextmanager
def committing(producer: Producer, topic: str) -> Iterator[None]:
    """Transactions in a row, each open for half a second."""
    ended, open_now = Event(), Event()

    def run() -> None:
        while not ended.is_set():
            producer.begin_transaction()
            write(producer, topic, 0, b"value")
            open_now.set()
            ended.wait(0.5)
            producer.commit_transaction(20)

    thread = Thread(target=run)
    thread.start()
    try:
        assert open_now.wait(20)
        yield
    finally:
        ended.set()
        thread.join(30)


def test_status_names_what_has_been_open_for_too_long(
    light_settings: Settings, scan: LogScan, producer: Producer
) -> None:
    """One look tells the old from the young, on topics that no stage reads too; after their end there is nothing."""
    reader = status_reader(light_settings, SystemClock())
    producer.begin_transaction()
    write(producer, scan.name(CANDIDATES), 1, b"young")
    write(producer, scan.name(LEDGER), 3, b"old", age=2 * HANGS_AFTER)
    write(producer, scan.name(LEDGER), 3, b"young")
    status = reader.read()
    [hanging] = status.hanging
    assert (hanging.topic, hanging.partition) == (scan.name(LEDGER), 3)
    assert (hanging.first_offset, hanging.records_behind) == (0, 2)
    assert hanging.open_s >= 2 * HANGS_AFTER.total_seconds()
    assert not status.caught_up
    producer.abort_transaction(20)
    assert reader.read().hanging == []


def test_verify_reports_a_hanging_transaction_and_judges_what_it_can(
    light_settings: Settings, scan: LogScan, producer: Producer
) -> None:
    """Named with all that an operator needs, not mended; other partitions are judged; no fault once it ended."""
    producer.begin_transaction()
    write(producer, scan.name(CHANGES), 2, b"no change at all", b"nor this")
    for repair in (False, True):
        report = verified(light_settings, repair=repair)
        [finding] = report.findings
        assert (finding.kind, finding.count) == ("hanging_transaction", 1)
        assert f"{scan.name(CHANGES)} 2/0: open for 2 s and more, 2 offsets" in finding.examples[0]
        assert f"abort --topic {scan.name(CHANGES)} --partition 2 --start-offset 0" in finding.examples[0]
        assert (report.sound, report.partitions, report.left) == (False, 3, report.findings)
    producer.abort_transaction(20)
    report = verified(light_settings)
    assert (report.sound, report.partitions) == (True, 4)


def test_verify_judges_all_but_the_books_that_a_hanging_transaction_in_the_ledger_holds_up(
    light_settings: Settings, scan: LogScan, producer: Producer
) -> None:
    """Books below its partition are balanced; above it entries may hide, but changes are judged all the same."""
    producer.begin_transaction()
    for partition in range(4):
        write(producer, scan.name(CONVERSATION_EVENTS), partition, b"not settled yet")
    write(producer, scan.name(CHANGES), 3, b"no change at all")
    producer.commit_transaction(20)
    producer.begin_transaction()
    write(producer, scan.name(LEDGER), 1, b"no entry")
    report = verified(light_settings)
    findings = {finding.kind: finding for finding in report.findings}
    assert findings.keys() == {"hanging_transaction", "unreadable"}
    assert "the books of partition 1 and above were not judged" in findings[Kind.HANGING_TRANSACTION].examples[0]
    assert findings[Kind.UNREADABLE].examples[0].startswith(f"{CHANGES.name} 3/0: ")
    assert (report.sound, report.partitions) == (False, 4)
    assert {page.stage: page.pending for page in report.books}["record"] == 1
    producer.abort_transaction(20)
    report = verified(light_settings)
    assert {page.stage: page.pending for page in report.books}["record"] == 4


def test_verify_ends_when_every_partition_is_held_up(
    light_settings: Settings, scan: LogScan, producer: Producer
) -> None:
    """Then there is nothing else to judge, and each of them is named."""
    producer.begin_transaction()
    for partition in range(4):
        write(producer, scan.name(CANDIDATES), partition, b"no candidate")
        write(producer, scan.name(LEDGER), partition, b"no entry")
    report = verified(light_settings)
    [finding] = report.findings
    assert (finding.count, report.partitions, report.sound) == (8, 0, False)


class Untold:
    """Nobody is told about progress."""

    def begin(self, offsets: int) -> None:
        """Nothing."""

    def say(self, doing: str) -> None:
        """Nothing."""

    def advance(self, offsets: int) -> None:
        """Nothing."""


async def make_store(settings: Settings) -> None:
    """As a worker does when it starts."""
    store = create_store(settings, dimensions=create_embedder().dimensions)
    await store.open()
    await store.close()


def verified(settings: Settings, *, repair: bool = False) -> Report:
    """A report on everything, by somebody who has little time."""
    asyncio.run(make_store(settings))
    with Verifier(settings, Untold(), hangs_after=STANDING_FOR) as verifier:
        return verifier.verify(Scope(), repair=repair)
