"""A log in memory that runs stages one after the other: for tests of what stages decide, without a broker.

It is no mock of Kafka: nothing about delivery, transactions or rebalances can be tested with it.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.headers import Headers
from schemas.outcome import Verdict
from streams.engine.stage import Consumed, Decision, MicroBatch, Output, Poisoned, Stage
from topology import keys
from topology.topics import TopicSpec

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class ManualClock:
    """A clock that stands still until a test moves it."""

    at: datetime = START
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.at + timedelta(seconds=self.seconds)

    def monotonic_s(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Record:
    """One record in the log."""

    offset: int
    stored_key: bytes | None
    stored_value: bytes | None
    headers: Headers | None
    timestamp_ms: int

    def key(self) -> bytes | None:
        return self.stored_key

    def value(self) -> bytes | None:
        return self.stored_value


@dataclass(frozen=True)
class ReadRecord:
    """A record as a reader of the log gets it: with the methods of `confluent_kafka.Message`."""

    record: Record

    def key(self) -> bytes | None:
        return self.record.stored_key

    def value(self) -> bytes | None:
        return self.record.stored_value

    def headers(self) -> Headers | None:
        return self.record.headers

    def offset(self) -> int:
        return self.record.offset


@dataclass
class InProcessLog:
    """Topics as lists, positions as numbers; runs a stage over what it has not seen yet."""

    partitions: int = 4
    clock: ManualClock = field(default_factory=ManualClock)
    records: dict[tuple[str, int], list[Record]] = field(default_factory=dict)
    positions: dict[tuple[str, str, int], int] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    poisoned: list[Poisoned] = field(default_factory=list)
    loaded: list[Any] = field(default_factory=list)

    def append(self, output: Output) -> Record:
        """Write one record, as Kafka would place it."""
        partition = output.partition
        if partition is None:
            partition = keys.murmur2(output.key or b"") % self.partitions
        stored = self.records.setdefault((output.topic.name, partition), [])
        timestamp_ms = int(self.clock.now().timestamp() * 1000)
        stored.append(Record(len(stored), output.key, output.value, output.headers, timestamp_ms))
        return stored[-1]

    def decoded(self, topic: TopicSpec) -> list[Any]:
        """Every record of a topic, decoded, partition by partition."""
        found = []
        for partition in range(self.partitions):
            stored = self.records.get((topic.name, partition), [])
            found += [topic.codec.decode(r.stored_value) for r in stored if r.stored_value is not None]
        return found

    async def read(
        self, topic: TopicSpec, partition: int, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[list[Any]]:
        """As `streams.engine.catch_up.LogReader`."""
        if wanted := self.records.get((topic.name, partition), [])[start:stop]:
            yield [ReadRecord(record) for record in wanted]

    def batch(self, stage: Stage[Any], partitions: Sequence[int], max_events: int | None = None) -> MicroBatch[Any]:
        """What the stage has not seen yet."""
        spec = stage.spec
        consumed: list[Consumed[Any]] = []
        for partition in partitions:
            start = self.positions.get((spec.name, spec.reads.name, partition), 0)
            for record in self.records.get((spec.reads.name, partition), [])[start:][:max_events]:
                assert record.stored_value is not None
                consumed.append(
                    Consumed(
                        partition,
                        record.offset,
                        record.timestamp_ms,
                        record.stored_key,
                        record.stored_value,
                        record.headers,
                        spec.reads.codec.decode(record.stored_value),
                    )
                )
        return MicroBatch(records=consumed, last_offsets={c.partition: c.offset for c in consumed})

    async def run(self, stage: Stage[Any], max_events: int | None = None) -> list[Decision]:
        """Run a stage until it has seen everything; `max_events` of a partition at a time."""
        decisions = []
        if not any(stage is loaded for loaded in self.loaded):
            for partition in range(self.partitions):
                await stage.load(partition, position=0)
            self.loaded.append(stage)
        while (batch := self.batch(stage, range(self.partitions), max_events)).records:
            decision = await stage.decide(batch)
            if decision.ask is not None:
                answers = await decision.ask()
                decision.outputs = [*answers.outputs, *decision.outputs]
                self.poisoned += answers.poisoned
            if decision.effect is not None:
                await stage.perform(decision.effect)
            for output in [*decision.publish, *decision.outputs]:
                self.append(output)
            if decision.state is not None:
                stage.apply(decision.state)
            for partition, offset in batch.last_offsets.items():
                self.positions[stage.spec.name, stage.spec.reads.name, partition] = offset + 1
            for verdicts in decision.verdicts.values():
                self.verdicts.setdefault(stage.spec.name, []).extend(verdicts)
            decisions.append(decision)
        return decisions

    def publish(
        self,
        event: Any,
        *,
        partition: int | None = None,
        key: bytes | None = b"",
        headers: Headers | None = None,
    ) -> Record:
        """Publish a conversation event as our own publisher would; `partition` and `key` misplace it."""
        from topology import topics

        user_key = keys.user_key_bytes(event.user)
        return self.append(
            Output(
                topic=topics.CONVERSATION_EVENTS,
                partition=keys.partition_of(event.user, self.partitions) if partition is None else partition,
                key=user_key if key == b"" else key,
                value=topics.CONVERSATION_EVENTS.codec.encode(event),
                headers=headers,
            )
        )
