"""What the Kafka client hands out for one record, made safe."""

from datetime import UTC, datetime

import pytest
from raw_records import raw_record

from streams.engine.raw_record import headers_of, offset_of, partition_of, recorded_at


@pytest.mark.parametrize(
    ("timestamp_ms", "at"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-62_135_596_800_000, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_740_823_200_123, datetime(2025, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC)),
        (253_402_300_800_000, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (2**63 - 1, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_any_timestamp_is_a_time(timestamp_ms: int, at: datetime) -> None:
    """Brokers may accept any 64-bit number; before 1970 and behind 9999 it is the nearest time."""
    assert recorded_at(raw_record(0, 0, timestamp_ms=timestamp_ms)) == at


def test_a_record_has_its_place_and_headers() -> None:
    """Offsets and partitions are numbers, headers are as they were written, and may be none."""
    record = raw_record(2, 7, headers=[("a", b"1")])
    assert (partition_of(record), offset_of(record), headers_of(record)) == (2, 7, [("a", b"1")])
    assert not headers_of(raw_record(0, 0))
