"""Reading a stretch of a partition: what the catch-up gate and index's look at its store stand on."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from streams.engine.catch_up import KafkaLogReader
from streams.settings import Settings
from topology.topics import LEDGER

pytestmark = pytest.mark.stack

PARTITION = 1


@pytest.fixture
def reader(settings: Settings) -> KafkaLogReader:
    """Reads the test's own topics."""
    return KafkaLogReader(settings.kafka, client_id="test", monotonic_s=time.monotonic)


@pytest.fixture
def write(settings: Settings) -> Callable[[int, bool], None]:
    """Writes so many records in one transaction of its own, and commits or aborts it."""
    config = {"bootstrap.servers": settings.kafka.bootstrap_servers, "transactional.id": settings.kafka.namespace}
    producer = Producer(config)
    producer.init_transactions(30)

    def transaction(records: int, commits: bool) -> None:
        producer.begin_transaction()
        for number in range(records):
            producer.produce(LEDGER.in_namespace(settings.kafka.namespace), b"%d" % number, partition=PARTITION)
        assert producer.flush(30) == 0  # else an abort takes them back before the broker has them
        if commits:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    return transaction


async def offsets(reader: KafkaLogReader, *, start: int = 0, stop: int | None = None) -> list[int | None]:
    """Which offsets a stretch has."""
    return [m.offset() async for messages in reader.read(LEDGER, PARTITION, start=start, stop=stop) for m in messages]


async def test_a_stretch_has_its_committed_records_and_no_others(
    reader: KafkaLogReader, write: Callable[[int, bool], None]
) -> None:
    """Aborted records and markers are passed over, also where they stand at the end of a stretch."""
    write(5, True)  # 0 to 4, marker at 5
    write(4, False)  # 6 to 9, marker at 10
    write(3, True)  # 11 to 13, marker at 14
    everything = [*range(5), *range(11, 14)]
    assert await offsets(reader) == everything
    for start, stop in ((0, 5), (3, 12), (5, 11), (6, 9), (13, 14), (14, 15), (2, 2), (0, 99), (20, None)):
        expected = [offset for offset in everything if start <= offset < (99 if stop is None else stop)]
        assert await offsets(reader, start=start, stop=stop) == expected, (start, stop)
