"""What a stage is: a function from a micro-batch to outputs and outcomes, and the little it may keep."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from schemas.candidate import Watermark
from schemas.headers import Headers, RawHeaders
from schemas.outcome import Outcome, Reason, Verdict
from topology.graph import StageSpec
from topology.topics import TopicSpec

E_co = TypeVar("E_co", covariant=True)


class Consumed(msgspec.Struct, Generic[E_co], frozen=True, gc=False):
    """One record as it stood in its topic, decoded.

    There is one for every record, so it is made in C and the garbage collector does not look at it: it is in no cycle.

    Attributes:
        partition: where it stood.
        offset: where it stood.
        timestamp_ms: its Kafka timestamp, milliseconds since the epoch.
        key: raw.
        value: raw.
        headers: raw.
        event: the decoded value.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: RawHeaders | None
    event: E_co


@dataclass(frozen=True, kw_only=True)
class MicroBatch(Generic[E_co]):
    """The events that a stage handles in one go.

    Attributes:
        records: in log order within each partition; without those that could not be decoded.
        last_offsets: partition to the last offset that this batch settles, undecodable records included.
    """

    records: Sequence[Consumed[E_co]]
    last_offsets: Mapping[int, int]


class Output(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record to write; as cheap as `Consumed`, for the same reason.

    Attributes:
        topic: where to.
        partition: always named: partition p leads to partition p, but for entries in the ledger
            (`streams.engine.ledger`). None only for copies to conversation events, which the partitioner places by
            their key.
        key: raw.
        value: raw; none is a deletion marker on a compacted topic.
        headers: raw.
    """

    topic: TopicSpec
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoned:
    """An event that the stage gives up by itself, because it knows which one it is and the rest can go on.

    Attributes:
        record: the event; it is dead-lettered.
        error: what was wrong with it.
        reason: how ledger and dead letter call it.
        headers: go with the dead letter in front of the record's own, for whoever sends it back.
    """

    record: Consumed[Any]
    error: Exception
    reason: Reason = Reason.POISON
    headers: Headers = field(default_factory=list)


@dataclass(kw_only=True)
class Answers:
    """What `Decision.ask` brought back.

    Attributes:
        outputs: go in front of the decision's own.
        poisoned: events that the answers showed to be beyond help.
    """

    outputs: list[Output] = field(default_factory=list)
    poisoned: list[Poisoned] = field(default_factory=list)


@dataclass(kw_only=True)
class Decision:
    """What a stage decided about one micro-batch.

    Attributes:
        outputs: written in the batch's transaction, in this order.
        ask: slow calls that change nothing outside, such as those of a model. Several batches ask at a time, so what is
            asked must not depend on the answers to earlier ones; it may be asked again.
        publish: written outside the transaction and acknowledged before it commits: copies and markers with ids derived
            from their origin, so that writing them again is harmless.
        verdicts: partition to the events that were not applied; every other event of the batch counts as applied.
        effect: what `Stage.perform` shall do outside Kafka, idempotently; none when there is nothing to do.
        state: what `Stage.apply` shall let later decisions build on; none when the batch changes no state.
    """

    outputs: list[Output] = field(default_factory=list)
    ask: Callable[[], Awaitable[Answers]] | None = None
    publish: list[Output] = field(default_factory=list)
    verdicts: dict[int, list[Verdict]] = field(default_factory=dict)
    effect: Any = None
    state: Any = None

    def filter(self, record: Consumed[Any], reason: Reason) -> None:
        """Settle one event without applying it."""
        self.verdicts.setdefault(record.partition, []).append(Verdict(record.offset, Outcome.FILTERED, reason))


class Stage(Protocol[E_co]):
    """One stage. The engine decides one batch at a time, in log order, while earlier ones ask, perform and commit.

    `decide` changes nothing by itself, so it can be repeated, for the whole batch or for halves of it. `apply` lets the
    next decision build on this one although its transaction is not over yet. If that fails, what was applied is
    worthless, and so is all that was decided on top of it: the engine unloads the partitions and loads them again, from
    the log. Errors a stage raises are handled by `streams.engine.ladder`; it never has to catch them itself.
    """

    @property
    def spec(self) -> StageSpec:
        """Its place in the graph."""

    @property
    def dead_letters(self) -> bool:
        """Whether an event that fails alone may be dead-lettered; otherwise the stage stops and says so."""

    async def open(self) -> None:
        """Connect to what it needs, once, before any partition is assigned."""

    async def close(self) -> None:
        """Let go of it."""

    async def load(self, partition: int, *, position: int) -> None:
        """A partition is ours now: read its state. No record of it comes before this returns.

        Args:
            partition: of the stage's input topic.
            position: the stable committed offset: everything before it has been settled, this is read next.
        """

    def unload(self, partition: int) -> None:
        """A partition is no longer ours: forget its state. May be called for one that was never loaded."""

    async def decide(self, batch: "MicroBatch[Any]") -> Decision:
        """What to write, what became of each event. No effect outside, no change of visible state."""

    async def give_up(self, batch: "MicroBatch[Any]", error: Exception) -> Decision | None:
        """Decide about one event without whatever may have killed the process each time it was handled.

        Returns:
            What to write instead; none lets the event become a dead letter as it is.
        """

    async def perform(self, effect: Any) -> None:
        """Do the outside effect of a decision; batches do so one after the other.

        It may be done again after a crash, together with that of later batches, so it is idempotent.
        """

    def apply(self, state: Any) -> None:
        """Let later decisions build on this one."""

    def due(self, *, at_end: frozenset[int]) -> list[Output]:
        """What the clock asks to be published to the log; called about twice a second.

        Args:
            at_end: partitions of which everything has been consumed and committed.
        """


class StatelessStage:
    """The parts of `Stage` that a stage without state, effects and clock leaves empty."""

    dead_letters = True

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def load(self, partition: int, *, position: int) -> None:
        """No state."""

    def unload(self, partition: int) -> None:
        """No state."""

    async def give_up(self, batch: MicroBatch[Any], error: Exception) -> Decision | None:  # noqa: ARG002
        """Nothing can be done without it."""
        return None

    async def perform(self, effect: Any) -> None:
        """No effect."""

    def apply(self, state: Any) -> None:
        """No state."""

    def due(self, *, at_end: frozenset[int]) -> list[Output]:  # noqa: ARG002
        """No clock."""
        return []


def collect_watermarks(batch: MicroBatch[Any]) -> dict[int, list[Watermark]]:
    """The newest watermark of each lane in each partition of a batch, for stages that forward them.

    Never runs ahead: a watermark is forwarded with the batch it came in, so everything before it went before it.
    """
    newest: dict[int, dict[str, Watermark]] = {}
    for record in batch.records:
        event = record.event
        if isinstance(event, Watermark):
            lanes = newest.setdefault(record.partition, {})
            seen = lanes.get(event.lane)
            if seen is None or event.offset > seen.offset:
                lanes[event.lane] = event
    return {partition: [lanes[lane] for lane in sorted(lanes)] for partition, lanes in newest.items()}


def watermark_outputs(
    topic: TopicSpec, watermarks: Mapping[int, Sequence[Watermark]], *, headers: Headers | None = None
) -> list[Output]:
    """Watermarks as records; they go behind a batch's other outputs."""
    return [
        Output(topic=topic, partition=partition, key=None, value=topic.codec.encode(mark), headers=headers)
        for partition, marks in sorted(watermarks.items())
        for mark in marks
    ]
