"""Open transactions on a real Kafka: which of them count as hanging."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import pytest
from confluent_kafka import Producer

from streams.clients.hanging_transactions import HangingTransaction, find_hanging
from streams.clients.log_scan import LogScan
from streams.engine import kafka
from streams.settings import Settings
from topology.topics import CANDIDATES, EMBEDDED

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
    )
    made.init_transactions(30)
    return made


def write(producer: Producer, topic: str, partition: int, *values: bytes) -> None:
    """Records of the open transaction, all of them in the log."""
    for value in values:
        producer.produce(topic, value=value, partition=partition)
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
    assert find_hanging(scan, [CANDIDATES, EMBEDDED], standing_for=STANDING_FOR) == [HangingTransaction(topic, 1, 2, 2)]
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
