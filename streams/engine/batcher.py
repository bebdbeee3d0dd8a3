"""When a micro-batch closes: by count, by bytes, by the age of its oldest event. Pure; time comes from outside."""

import enum
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from confluent_kafka import Message

from streams.engine.batch_pace import BatchPace
from streams.engine.batch_size import BatchSize
from streams.engine.chunk import Chunk, Lease, record_bytes


class CloseReason(enum.StrEnum):
    """What closed a batch."""

    COUNT = "count"
    ADAPTED = "adapted"
    """By count, at a limit that the latency target has lowered (`streams.engine.batch_size`)."""
    BYTES = "bytes"
    AGE = "age"


@dataclass(slots=True)
class Part:
    """Consecutive records of one partition, under one lease."""

    lease: Lease
    records: Sequence[Message]

    @property
    def first_offset(self) -> int:
        """Of its oldest record."""
        return cast("int", self.records[0].offset())

    @property
    def last_offset(self) -> int:
        """Of its newest record."""
        return cast("int", self.records[-1].offset())


@dataclass(slots=True)
class RawBatch:
    """Records taken together, not yet decoded.

    Attributes:
        parts: not empty, each; in log order within each partition.
        closed_by: why the batch closed.
    """

    parts: list[Part] = field(default_factory=list)
    closed_by: CloseReason = CloseReason.AGE

    def __len__(self) -> int:
        return sum(len(part.records) for part in self.parts)

    def __iter__(self) -> Iterator[tuple[Lease, Message]]:
        return ((part.lease, message) for part in self.parts for message in part.records)

    @property
    def leases(self) -> frozenset[Lease]:
        """Under which its records came."""
        return frozenset(part.lease for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """As counted against the limits."""
        return sum(record_bytes(part.records) for part in self.parts)

    @property
    def last_offsets(self) -> dict[int, int]:
        """Partition to its newest offset here."""
        return {part.lease.partition: part.last_offset for part in self.parts}

    def alive(self) -> "RawBatch":
        """The records that are still ours."""
        return RawBatch([part for part in self.parts if part.lease.alive], self.closed_by)

    def behind(self, offsets: Mapping[int, int]) -> "RawBatch":
        """The records behind these offsets, by partition."""
        kept = (
            Part(part.lease, [m for m in part.records if cast("int", m.offset()) > offset])
            if (offset := offsets.get(part.lease.partition, -1)) >= part.first_offset
            else part
            for part in self.parts
        )
        return RawBatch([part for part in kept if part.records], self.closed_by)

    def halves(self) -> tuple["RawBatch", "RawBatch"]:
        """Two batches that, settled one after the other, keep the order within every partition."""
        left, right = RawBatch([], self.closed_by), RawBatch([], self.closed_by)
        wanted = len(self) // 2
        for part in self.parts:
            cut = min(wanted, len(part.records))
            wanted -= cut
            if cut:
                left.parts.append(Part(part.lease, part.records[:cut]))
            if cut < len(part.records):
                right.parts.append(Part(part.lease, part.records[cut:]))
        return left, right


class MicroBatcher:
    """Merges chunks into micro-batches, taking turns between partitions.

    Laws (property-tested): every record added under a living lease is taken exactly once; within a partition records
    leave in the order they came; no batch exceeds the size's `max_events`, nor `max_bytes` unless a single record does.

    Args:
        size: says at how many events a batch closes by count.
        max_bytes: closes by size.
        pace: says at which age of its oldest record a batch closes.
    """

    def __init__(self, *, size: BatchSize, max_bytes: int, pace: BatchPace) -> None:
        self._size = size
        self._max_bytes = max_bytes
        self._pace = pace
        self._waiting: dict[Lease, deque[Message]] = {}
        self._events = 0
        self._bytes = 0
        self._oldest_at_s: float | None = None

    def __len__(self) -> int:
        return self._events

    @property
    def oldest_at_s(self) -> float | None:
        """Since when the oldest of what waits has waited; none when nothing does."""
        return self._oldest_at_s

    @property
    def full(self) -> bool:
        """Whether a batch closes by count or bytes, however long its events have waited."""
        return self._events >= self._size.max_events or self._bytes >= self._max_bytes

    def add(self, chunk: Chunk, *, now_s: float) -> None:
        """Take in a chunk; one of a dead lease is dropped, its owner will read it."""
        if not chunk.lease.alive or not chunk.records:
            return
        self._waiting.setdefault(chunk.lease, deque()).extend(chunk.records)
        self._events += len(chunk.records)
        self._bytes += chunk.size_bytes
        if self._oldest_at_s is None:
            self._oldest_at_s = now_s

    def due_in_s(self, *, now_s: float) -> float | None:
        """Seconds until a batch closes: 0 when one is ready, none when nothing waits."""
        if self._oldest_at_s is None:
            return None
        if self.full:
            return 0.0
        return max(0.0, self._pace.due_at_s(oldest_at_s=self._oldest_at_s) - now_s)

    def take(self, *, now_s: float) -> RawBatch:
        """The next batch; empty when nothing waits. Partitions give an equal share each, so none starves another."""
        self._pace.taken(now_s=now_s)
        taken: dict[Lease, list[Message]] = {}
        events_left, bytes_left = self._size.max_events, self._max_bytes
        closed_by = CloseReason.AGE
        while self._waiting and events_left and closed_by is not CloseReason.BYTES:
            share = max(1, events_left // len(self._waiting))
            for lease in list(self._waiting):
                records = self._leave(lease, min(share, events_left), bytes_left, at_least_one=not taken)
                if not records:
                    closed_by = CloseReason.BYTES
                    break
                taken.setdefault(lease, []).extend(records)
                events_left -= len(records)
                bytes_left -= record_bytes(records)
                if not events_left:
                    break
        if not events_left:
            closed_by = CloseReason.ADAPTED if self._size.is_reduced else CloseReason.COUNT
        # What is left has waited for less than the age limit or closes by count anyway: its age starts anew, which
        # delays it by one batch at the most.
        self._oldest_at_s = now_s if self._waiting else None
        return RawBatch([Part(lease, records) for lease, records in taken.items()], closed_by)

    def drop(self, leases: Collection[Lease]) -> int:
        """Forget what waits under these leases; returns how many bytes that was."""
        dropped_bytes = 0
        for lease in leases:
            records = self._waiting.pop(lease, ())
            self._events -= len(records)
            dropped_bytes += record_bytes(records)
        self._bytes -= dropped_bytes
        if not self._waiting:
            self._oldest_at_s = None
        return dropped_bytes

    def _leave(self, lease: Lease, events: int, bytes_left: int, *, at_least_one: bool) -> list[Message]:
        """Up to so many records that fit; a first one that fits nowhere goes alone."""
        queue = self._waiting[lease]
        records = list(islice(queue, events))
        if record_bytes(records) > bytes_left:
            records = records[: max(_fitting(records, bytes_left), int(at_least_one))]
        if len(records) == len(queue):
            del self._waiting[lease]
        else:
            for _ in records:
                queue.popleft()
        self._events -= len(records)
        self._bytes -= record_bytes(records)
        return records


def _fitting(records: Sequence[Message], limit_bytes: int) -> int:
    """How many of the first records stay within so many bytes."""
    for count, message in enumerate(records):
        limit_bytes -= record_bytes((message,))
        if limit_bytes < 0:
            return count
    return len(records)
