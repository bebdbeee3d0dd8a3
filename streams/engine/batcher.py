"""When a micro-batch closes: by count, by bytes, by the age of its oldest event. Pure; time comes from outside."""

import enum
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from confluent_kafka import Message

from streams.engine.chunk import Chunk, Lease


class CloseReason(enum.StrEnum):
    """What closed a batch."""

    COUNT = "count"
    BYTES = "bytes"
    AGE = "age"


@dataclass(slots=True)
class RawBatch:
    """Records taken together, not yet decoded.

    Attributes:
        records: in log order within each partition, each with the lease it came under.
        closed_by: why the batch closed.
    """

    records: list[tuple[Lease, Message]] = field(default_factory=list)
    closed_by: CloseReason = CloseReason.AGE

    def alive(self) -> "RawBatch":
        """The records that are still ours."""
        return RawBatch([r for r in self.records if r[0].alive], self.closed_by)

    def behind(self, offsets: Mapping[int, int]) -> "RawBatch":
        """The records behind these offsets, by partition."""
        kept = [(le, m) for le, m in self.records if (m.offset() or 0) > offsets.get(le.partition, -1)]
        return RawBatch(kept, self.closed_by)

    def halves(self) -> tuple["RawBatch", "RawBatch"]:
        """Two batches that, settled one after the other, keep the order within every partition."""
        middle = len(self.records) // 2
        return RawBatch(self.records[:middle], self.closed_by), RawBatch(self.records[middle:], self.closed_by)


class MicroBatcher:
    """Merges chunks into micro-batches, taking turns between partitions.

    Laws (property-tested): every record added under a living lease is taken exactly once; within a partition records
    leave in the order they came; no batch exceeds `max_events`, nor `max_bytes` unless a single record does.

    Args:
        max_events: closes by count.
        max_bytes: closes by size.
        max_age: closes by the age of the oldest record.
    """

    def __init__(self, *, max_events: int, max_bytes: int, max_age: timedelta) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_age_s = max_age.total_seconds()
        self._waiting: dict[Lease, deque[tuple[Message, int]]] = {}
        self._events = 0
        self._bytes = 0
        self._oldest_at_s: float | None = None

    def __len__(self) -> int:
        return self._events

    def add(self, chunk: Chunk, *, now_s: float) -> None:
        """Take in a chunk; one of a dead lease is dropped, its owner will read it."""
        if not chunk.lease.alive or not chunk.records:
            return
        queue = self._waiting.setdefault(chunk.lease, deque())
        for message in chunk.records:
            queue.append((message, record_bytes(message)))
        self._events += len(chunk.records)
        self._bytes += chunk.size_bytes
        if self._oldest_at_s is None:
            self._oldest_at_s = now_s

    def due_in_s(self, *, now_s: float) -> float | None:
        """Seconds until a batch closes: 0 when one is ready, none when nothing waits."""
        if self._oldest_at_s is None:
            return None
        if self._events >= self._max_events or self._bytes >= self._max_bytes:
            return 0.0
        return max(0.0, self._oldest_at_s + self._max_age_s - now_s)

    def take(self, *, now_s: float) -> RawBatch:
        """The next batch; empty when nothing waits. Partitions give an equal share each, so none starves another."""
        batch = RawBatch()
        size_bytes = 0
        while self._waiting and len(batch.records) < self._max_events:
            share = max(1, (self._max_events - len(batch.records)) // len(self._waiting))
            for lease in list(self._waiting):
                queue = self._waiting[lease]
                for _ in range(min(share, len(queue), self._max_events - len(batch.records))):
                    message, message_bytes = queue[0]
                    if batch.records and size_bytes + message_bytes > self._max_bytes:
                        batch.closed_by = CloseReason.BYTES
                        return self._taken(batch, now_s)
                    queue.popleft()
                    batch.records.append((lease, message))
                    size_bytes += message_bytes
                    self._events -= 1
                    self._bytes -= message_bytes
                if not queue:
                    del self._waiting[lease]
        if len(batch.records) >= self._max_events:
            batch.closed_by = CloseReason.COUNT
        return self._taken(batch, now_s)

    def drop(self, leases: set[Lease]) -> int:
        """Forget what waits under these leases; returns how many bytes that was."""
        dropped_bytes = 0
        for lease in leases:
            for _, message_bytes in self._waiting.pop(lease, ()):
                self._events -= 1
                self._bytes -= message_bytes
                dropped_bytes += message_bytes
        if not self._waiting:
            self._oldest_at_s = None
        return dropped_bytes

    def _taken(self, batch: RawBatch, now_s: float) -> RawBatch:
        # What is left has waited for less than the age limit or closes by count anyway: its age starts anew, which
        # delays it by one batch at the most.
        self._oldest_at_s = now_s if self._waiting else None
        return batch


def record_bytes(message: Message) -> int:
    """Key and value, as counted against the limits."""
    key, value = message.key(), message.value()
    return (len(key) if key else 0) + (len(value) if value else 0)
