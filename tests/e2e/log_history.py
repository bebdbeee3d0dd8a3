"""What stands on the topics of one namespace, read committed and kept in memory, for the audit."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from types import TracebackType
from typing import Any, Literal, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from schemas.codec import DecodeError
from schemas.headers import RawHeaders
from schemas.ids import UserKey
from schemas.memory import Head
from schemas.outcome import LedgerEntry
from schemas.window import Window
from streams.engine.raw_record import headers_of
from streams.settings import Settings
from topology.graph import GRAPH, StageSpec
from topology.topics import HEADS, LEDGER, TOPICS, WINDOWS, TopicSpec

_QUIET_S = 0.5
"""No record for so long counts as the end of what there is now."""
_STUCK_S = 20.0
"""Longer than a transaction may stay open (10 s), which keeps committed readers from the end."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One committed record; `event` is none where the value is a deletion marker or no event of its topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders
    event: Any

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.topic} {self.partition}/{self.offset}"


@dataclass
class LogHistory:
    """Committed records per topic (without namespace) and partition, in log order."""

    partitions: int
    records: dict[tuple[str, int], list[LogRecord]] = field(default_factory=dict)

    def of(self, topic: TopicSpec, partition: int) -> list[LogRecord]:
        """The records of one partition."""
        return self.records.get((topic.name, partition), [])

    def events(self, topic: TopicSpec, kind: type[Any]) -> Iterator[tuple[LogRecord, Any]]:
        """Records of one type, with their events, partition by partition."""
        for partition in range(self.partitions):
            for record in self.of(topic, partition):
                if isinstance(record.event, kind):
                    yield record, record.event

    def ledger(self, spec: StageSpec, partition: int) -> list[tuple[LogRecord, LedgerEntry]]:
        """The entries about one stage and input partition, wherever they stand, by the offsets that they settle.

        Those in one partition of the ledger stay in log order, even where that contradicts their offsets.
        """
        found: dict[int, list[tuple[LogRecord, LedgerEntry]]] = defaultdict(list)
        for record, entry in self.events(LEDGER, LedgerEntry):
            if (entry.stage, entry.partition) == (spec.name, partition):
                found[record.partition].append((record, entry))
        return list(merge(*found.values(), key=lambda pair: pair[1].first_offset))

    def heads(self) -> dict[UserKey, Head]:
        """The newest head of every user."""
        return {head.user: head for _, head in self.events(HEADS, Head)}

    def open_windows(self) -> list[Window]:
        """Windows that hold anything, turns or context."""
        newest: dict[bytes | None, Window | None] = {}
        for partition in range(self.partitions):
            for record in self.of(WINDOWS, partition):
                newest[record.key] = record.event
        return [window for window in newest.values() if window is not None]

    def behind(self, stages: Iterable[StageSpec] = GRAPH) -> dict[str, int]:
        """Stage and partition to how many of its input records have no ledger entry yet."""
        found = {}
        settled: dict[tuple[str, int], int] = {}
        for _, entry in self.events(LEDGER, LedgerEntry):
            at = entry.stage, entry.partition
            settled[at] = max(entry.last_offset, settled.get(at, -1))
        for spec in stages:
            for partition in range(self.partitions):
                last_offset = settled.get((spec.name, partition), -1)
                missing = sum(record.offset > last_offset for record in self.of(spec.reads, partition))
                if missing:
                    found[f"{spec.name} {partition}"] = missing
        return found


class LogFollower:
    """Reads all topics of a namespace from their beginning and goes on where it stopped; use it as a context manager.

    Args:
        settings: where Kafka is.
        isolation: `read_uncommitted` also sees what aborted transactions left; no audit may read that.
    """

    def __init__(
        self, settings: Settings, *, isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    ) -> None:
        self._namespace = settings.kafka.namespace
        self._codecs = {topic.name: topic.codec for topic in TOPICS}
        self.history = LogHistory(settings.kafka.partitions)
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "group.id": f"{self._namespace}audit",
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
        )
        places = [(topic.name, p) for topic in TOPICS for p in range(settings.kafka.partitions)]
        self._never_at_end = set(places)
        self._consumer.assign([TopicPartition(self._namespace + name, p, OFFSET_BEGINNING) for name, p in places])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._consumer.close()

    def read_on(self, quiet_s: float = _QUIET_S) -> int:
        """Read on until nothing has come for a while; returns how many records were new."""
        new = 0
        last_s = time.monotonic()
        while self._never_at_end or time.monotonic() - last_s < quiet_s:
            assert time.monotonic() - last_s < _STUCK_S, f"no record and no end of {sorted(self._never_at_end)}"
            for message in self._consumer.consume(5000, 0.1):
                topic, partition = (message.topic() or "").removeprefix(self._namespace), message.partition()
                if (error := message.error()) is None:
                    self._keep(message)
                    new += 1
                    last_s = time.monotonic()
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._never_at_end.discard((topic, partition or 0))
                else:
                    assert error.retriable(), f"reading {topic} {partition}: {error.str()}"
        return new

    def wait_until_drained(
        self, *, timeout_s: float, stages: Iterable[StageSpec] = GRAPH, windows_closed: bool = True
    ) -> LogHistory:
        """Return the history once every record has a ledger entry of every stage that reads it, and nothing moves.

        Args:
            timeout_s: fails after that, and says what was left.
            stages: whose books must be closed.
            windows_closed: also wait until extract keeps no window.
        """
        stages = list(stages)
        deadline_s = time.monotonic() + timeout_s
        while True:
            new = self.read_on()
            behind = self.history.behind(stages)
            windows = self.history.open_windows() if windows_closed else []
            if not new and not behind and not windows:
                return self.history
            assert time.monotonic() < deadline_s, (
                f"not drained within {timeout_s} s: without a ledger entry {behind}, open windows {len(windows)}"
            )

    def _keep(self, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        name = topic.removeprefix(self._namespace)
        value: Any = message.value()
        headers: Any = headers_of(message) or []
        key: Any = message.key()
        record = LogRecord(
            topic=name,
            partition=partition,
            offset=offset,
            timestamp_ms=message.timestamp()[1],
            key=key,
            value=value,
            headers=headers,
            event=self._decoded(name, value),
        )
        self.history.records.setdefault((name, partition), []).append(record)

    def _decoded(self, topic: str, value: bytes | None) -> Any:
        if value is None:
            return None
        try:
            return self._codecs[topic].decode(value)
        except DecodeError:
            return None
