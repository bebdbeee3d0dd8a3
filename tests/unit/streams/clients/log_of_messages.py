"""A log in memory that is read as the real one is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Message

from streams.clients.log_scan import LogScan
from streams.settings import KafkaSettings
from topology.topics import TopicSpec

PARTITIONS = 4
START = datetime(2025, 3, 1, 10, 0, 0, tzinfo=UTC)


class LogOfMessages(LogScan):
    """Topics as lists; an offset may be skipped, as transaction markers do.

    Attributes:
        groups: group id to partition to committed offset.
        group_members: group id to number of consumers.
        open_from: topic and partition to the offset from which on a transaction has not ended.
    """

    def __init__(self) -> None:
        self.settings = KafkaSettings(partitions=PARTITIONS)
        self.groups: dict[str, dict[int, int]] = {}
        self.group_members: dict[str, int] = {}
        self.open_from: dict[tuple[str, int], int] = {}
        self._records: dict[str, dict[int, list[Message]]] = {}
        self._ends: dict[tuple[str, int], int] = {}

    def write(
        self,
        spec: TopicSpec,
        partition: int,
        record: Any,
        *,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        at: datetime = START,
    ) -> int:
        """Append a record (bytes as they are, nothing as a deletion) and return its offset."""
        value = record if record is None or isinstance(record, bytes) else spec.codec.encode(record)
        offset = self._ends.get((spec.name, partition), 0)
        message = Message(
            topic=spec.name,
            partition=partition,
            offset=offset,
            key=key,
            value=value,
            headers=headers,
            timestamp=(1, int(at.timestamp() * 1000)),
        )
        self._records.setdefault(spec.name, {}).setdefault(partition, []).append(message)
        self._ends[spec.name, partition] = offset + 1
        return offset

    def write_marker(self, spec: TopicSpec, partition: int) -> None:
        """Take an offset without a record, as the end of a transaction does."""
        self._ends[spec.name, partition] = self._ends.get((spec.name, partition), 0) + 1

    def bounds(self, spec: TopicSpec, *, with_open: bool = False) -> dict[int, range]:
        """All offsets of each partition, or those below an open transaction."""
        ends = {partition: self._ends.get((spec.name, partition), 0) for partition in range(PARTITIONS)}
        if not with_open:
            ends |= {partition: self.open_from.get((spec.name, partition), end) for partition, end in ends.items()}
        return {partition: range(end) for partition, end in ends.items()}

    def read(self, spec: TopicSpec, ranges: Mapping[int, range], *, with_open: bool = False) -> Iterator[Message]:
        """The records in these offsets; bounds keep readers of committed records before open ones."""
        for partition, wanted in ranges.items():
            for message in self._records.get(spec.name, {}).get(partition, []):
                if message.offset() in wanted:
                    yield message

    def committed(
        self, group_id: str, spec: TopicSpec, partitions: Collection[int], *, stable: bool = False
    ) -> dict[int, int]:
        """What a test wrote into `groups`."""
        return self.groups.get(group_id, {})

    def members(self, group_ids: Sequence[str]) -> dict[str, int]:
        """What a test wrote into `group_members`."""
        return {group: self.group_members[group] for group in group_ids if group in self.group_members}


class FixedClock:
    """A clock that stands still.

    Args:
        moment: what it shows.
    """

    def __init__(self, moment: datetime = START) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """The moment."""
        return self.moment

    def monotonic_s(self) -> float:
        """Seconds of the moment."""
        return self.moment.timestamp()
