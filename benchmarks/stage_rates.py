"""What the ledger tells about each stage: how many records it settled, in how many batches, how fast, how late."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.probes import read_all
from schemas.outcome import LedgerEntry
from streams.settings import Settings
from topology import topics
from topology.graph import GRAPH, StageSpec


@dataclass(frozen=True, kw_only=True)
class StageRate:
    """One stage over a span of time.

    Attributes:
        stage: its name.
        records: it settled, watermarks included.
        batches: transactions it took.
        seconds: from its first batch to its last.
    """

    stage: str
    records: int
    batches: int
    seconds: float

    @property
    def records_per_s(self) -> float:
        """Records a second; not a number for a single batch, which has no duration."""
        return self.records / self.seconds if self.seconds else float("nan")

    @property
    def records_a_batch(self) -> float:
        """Mean size of a micro-batch."""
        return self.records / self.batches


def read_ledger(settings: Settings) -> list[LedgerEntry]:
    """Every entry so far."""
    entries = []
    for message in read_all(settings, topics.LEDGER):
        value: Any = message.value()
        entries.append(topics.LEDGER.codec.decode(value))
    return entries


def decided_between(settings: Settings, start: datetime, end: datetime) -> list[LedgerEntry]:
    """The ledger's entries of a span of time."""
    return [entry for entry in read_ledger(settings) if start <= entry.decided_at <= end]


def rates(entries: Iterable[LedgerEntry]) -> list[StageRate]:
    """Sum up entries by stage, in event order.

    A batch writes one entry a partition, all with the same time: so many times, so many batches.
    """
    stages: dict[str, dict[datetime, int]] = {spec.name: {} for spec in GRAPH}
    for entry in entries:
        batches = stages[entry.stage]
        settled = entry.applied + entry.filtered + entry.dead_lettered
        batches[entry.decided_at] = batches.get(entry.decided_at, 0) + settled
    return [
        StageRate(
            stage=stage,
            records=sum(batches.values()),
            batches=len(batches),
            seconds=(max(batches) - min(batches)).total_seconds(),
        )
        for stage, batches in stages.items()
        if batches
    ]


def waits_s(settings: Settings, spec: StageSpec, entries: Sequence[LedgerEntry]) -> list[float]:
    """How long each record that these entries settle had waited when its stage decided about it.

    From the record's timestamp, when the stage before it handed it to its producer, to the decision, effects included:
    the commit of the stage before, the way through the broker, the wait for a batch, and the work. So the stages' waits
    add up to the way of an event, but for the last commit. Timestamps have milliseconds.
    """
    decided: dict[int, list[LedgerEntry]] = {}
    for entry in sorted((e for e in entries if e.stage == spec.name), key=lambda entry: entry.last_offset):
        decided.setdefault(entry.partition, []).append(entry)
    waits = []
    for message in read_all(settings, spec.reads):
        offset = message.offset() or 0
        own = decided.get(message.partition() or 0, [])
        at = bisect_left(own, offset, key=lambda entry: entry.last_offset)
        if at < len(own) and own[at].first_offset <= offset:
            waits.append(own[at].decided_at.timestamp() - message.timestamp()[1] / 1000)
    return waits
