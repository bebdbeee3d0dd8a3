"""One process of the engine, simulated: its log is a few lists, and a transaction is an `extend`.

What Kafka itself does is tested in `tests/integration`. The stage numbers the events of each partition, so that state
which was built on what never committed would show.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from confluent_kafka import Message, TopicPartition

from schemas.outcome import DeadLetter, LedgerEntry
from streams.clock import SystemClock
from streams.engine import marks
from streams.engine.chunk import Chunk, Lease, record_bytes
from streams.engine.open_batch import Progress
from streams.engine.runner import Runner
from streams.engine.stage import Answers, Decision, MicroBatch, Output, Poisoned
from streams.engine.transactions import RecordTooLargeError
from streams.errors import TransientError
from streams.settings import BatchSettings, RetrySettings, Settings
from topology import graph, topics

SPEC = graph.stage(graph.StageName.RECORD)
PARTITIONS = 3
SETTINGS = Settings(
    batch=BatchSettings(max_events=7, max_age=timedelta(0), min_interval=timedelta(0), max_open_batches=3),
    retry=RetrySettings(first_delay=timedelta(0), max_delay=timedelta(0)),
)


class DiedError(Exception):
    """The process is gone."""


class Numbers:
    """Decodes a number written out."""

    def decode(self, raw: bytes | None) -> int:
        """The number."""
        return int(raw or b"")


@dataclass
class Faults:
    """What goes wrong in one run.

    Attributes:
        poison: number of an event to the step that fails on it for good.
        passing_ratio: chance of a step to fail in passing.
        randomness: decides about those, and about how long things take.
        killers: number of an event to the step that kills the process.
        dead: set when it has been killed: nothing goes on.
    """

    poison: dict[int, str]
    passing_ratio: float
    randomness: random.Random
    killers: dict[int, str] = field(default_factory=dict)
    dead: asyncio.Event = field(default_factory=asyncio.Event)

    async def at(self, step: str, numbers: Sequence[int]) -> None:
        """Take a while; fail as planned."""
        for _ in range(self.randomness.randrange(4)):
            await asyncio.sleep(0)
        if any(self.killers.get(number) == step for number in numbers):
            self.dead.set()
        if self.dead.is_set():
            await asyncio.Event().wait()
        if self.randomness.random() < self.passing_ratio:
            raise TransientError(f"{step} is away")
        if any(self.poison.get(number) == step for number in numbers):
            raise ValueError(step)


@dataclass
class Log:
    """What has been committed.

    Attributes:
        outputs: partition to the committed outputs, `number:count`.
        positions: partition to the committed position.
        entries: the books.
        letters: numbers of the dead-lettered events.
        marks: partition to the metadata of the committed position.
        generation: of the group; raised when a member is thrown out, and then the broker refuses what it had open.
        effects: what was done outside, in order; more than once is fine.
    """

    outputs: dict[int, list[bytes]] = field(default_factory=lambda: {p: [] for p in range(PARTITIONS)})
    positions: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    marks: dict[int, str] = field(default_factory=dict)
    entries: list[LedgerEntry] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)
    generation: int = 1
    effects: list[int] = field(default_factory=list)


class ListTransactions:
    """Commits to the lists, all of it or nothing."""

    def __init__(self, log: Log, faults: Faults) -> None:
        self._log = log
        self._faults = faults
        self._turn = asyncio.Lock()  # as in the one thread of the real one

    async def commit(self, outputs: Sequence[Output], *, offsets: Sequence[TopicPartition], metadata: Any) -> None:
        """All of it, after a while; or none."""
        async with self._turn:
            await self._commit(outputs, offsets, metadata)

    async def _commit(self, outputs: Sequence[Output], offsets: Sequence[TopicPartition], metadata: Any) -> None:
        await self._faults.at("commit", [])
        if metadata != self._log.generation:
            raise TransientError("illegal generation")
        if any(output.topic is topics.CANDIDATES and b"huge" in (output.value or b"") for output in outputs):
            raise RecordTooLargeError("huge")
        for output in outputs:
            assert output.partition is not None
            match output.topic:
                case topics.LEDGER:
                    self._log.entries.append(topics.LEDGER.codec.decode(output.value or b""))
                case topics.DLQ:
                    letter: DeadLetter = topics.DLQ.codec.decode(output.value or b"")
                    self._log.letters.append(int(letter.value or b""))
                case _:
                    self._log.outputs[output.partition].append(output.value or b"")
        for position in offsets:
            moves = position.offset - self._log.positions[position.partition]
            assert moves > 0 if outputs else moves == 0, "a position went back, or a mark moved it"
            self._log.positions[position.partition] = position.offset
            self._log.marks[position.partition] = position.metadata


class Counting:
    """Numbers the events of each partition: state that each batch builds on."""

    spec = SPEC
    dead_letters = True

    def __init__(self, log: Log, faults: Faults) -> None:
        self._log = log
        self._faults = faults
        self._counts: dict[int, int] = {}

    async def load(self, partition: int, *, position: int) -> None:
        """Count what is committed."""
        assert position == self._log.positions[partition]
        self._counts[partition] = len(self._log.outputs[partition])

    def unload(self, partition: int) -> None:
        """Forget the count."""
        self._counts.pop(partition, None)

    async def decide(self, batch: MicroBatch[int]) -> Decision:
        """Number the events; those that `ask` finds to be poison get no number that is kept."""
        numbers = [record.event for record in batch.records]
        await self._faults.at("decide", numbers)
        counts = dict(self._counts)
        outputs = []
        decision = Decision(effect=numbers, ask=lambda: self._ask(batch))
        for record in batch.records:
            if self._faults.poison.get(record.event) == "answer":
                continue
            counts[record.partition] += 1
            text = "huge" if self._faults.poison.get(record.event) == "size" else ""
            outputs.append(
                Output(
                    topic=topics.CANDIDATES,
                    partition=record.partition,
                    key=None,
                    value=b"%d:%d%s" % (record.event, counts[record.partition], text.encode()),
                )
            )
        decision.outputs = outputs
        decision.state = {p: counts[p] for p in batch.last_offsets}
        return decision

    async def _ask(self, batch: MicroBatch[int]) -> Answers:
        await self._faults.at("ask", [record.event for record in batch.records])
        return Answers(
            poisoned=[
                Poisoned(record=record, error=ValueError("no answer"))
                for record in batch.records
                if self._faults.poison.get(record.event) == "answer"
            ]
        )

    async def give_up(self, batch: MicroBatch[int], error: Exception) -> Decision | None:
        """Nothing can be done without it."""
        return None

    async def perform(self, effect: list[int]) -> None:
        """Note it."""
        await self._faults.at("perform", effect)
        self._log.effects += effect

    def apply(self, state: dict[int, int]) -> None:
        """The counts go on from here."""
        self._counts |= {p: count for p, count in state.items() if p in self._counts}

    def due(self, *, at_end: frozenset[int]) -> list[Output]:
        """No clock."""
        return []


class Held:
    """Stands where the poller does: counts the bytes that are still held."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.held_bytes = 0

    @property
    def group_metadata(self) -> int:
        """The generation that this process knows."""
        return self._log.generation

    def release(self, size_bytes: int) -> None:
        """So many bytes are done with."""
        self.held_bytes -= size_bytes


class World:
    """One process that owns all partitions, and sometimes loses one and gets it back.

    Args:
        inputs: the events of each partition.
        faults: what goes wrong.
        log: what processes before it have committed.
    """

    def __init__(self, inputs: list[list[Message]], faults: Faults, log: Log | None = None) -> None:
        self.log = log or Log()
        self._inputs = inputs
        self._faults = faults
        self._poller = Held(self.log)
        self._leases: dict[int, Lease] = {}
        settings = SETTINGS.replace("worker", revoke_deadline=timedelta(milliseconds=faults.randomness.choice([0, 50])))
        stage: Any = Counting(self.log, faults)
        self._runner = Runner(
            stage,
            codec=Numbers(),  # type: ignore[arg-type]
            poller=self._poller,  # type: ignore[arg-type]
            transactions=ListTransactions(self.log, faults),  # type: ignore[arg-type]
            settings=settings,
            clock=SystemClock(),
            jitter=random.Random(1),
        )

    @property
    def progress(self) -> Progress:
        """What the process has done."""
        return self._runner.progress

    async def assign(self, partition: int) -> None:
        """Own a partition from its committed position on, and fetch it in pieces."""
        mark = marks.from_text(self.log.marks.get(partition))
        lease = Lease(partition, self.log.positions[partition], mark=mark)
        self._leases[partition] = lease
        await self._runner.assigned([lease])
        records = self._inputs[partition][lease.start_offset :]
        while records:
            size = self._faults.randomness.randint(1, 12)
            piece, records = records[:size], records[size:]
            lease.next_offset += len(piece)
            self._poller.held_bytes += record_bytes(piece)
            self._runner.feed(Chunk(lease, piece, record_bytes(piece)))

    async def revoke(self, partition: int, *, lost: bool) -> None:
        """Give a partition back."""
        lease = self._leases.pop(partition)
        if lost:
            lease.alive = False  # as the poller does, before anybody can take metadata of the new generation
            self.log.generation += 1
        await self._runner.revoked([lease], lost=lost)

    async def run(self, changes: list[tuple[int, bool]]) -> None:
        """Until everything is settled.

        Args:
            changes: partitions that go and come back on the way, and whether they are lost.

        Raises:
            DiedError: an event has killed the process.
        """
        life = asyncio.create_task(self._live(changes))
        death = asyncio.create_task(self._faults.dead.wait())
        await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
        if death.done():
            raise DiedError
        life.result()

    async def _live(self, changes: list[tuple[int, bool]]) -> None:
        running = asyncio.create_task(self._runner.run())
        for partition in range(PARTITIONS):
            await self.assign(partition)
        for partition, lost in changes:
            for _ in range(self._faults.randomness.randrange(40)):
                await asyncio.sleep(0)
            await self.revoke(partition, lost=lost)
            await self.assign(partition)
        async with asyncio.timeout(30):
            while any(self.log.positions[p] < len(self._inputs[p]) for p in range(PARTITIONS)):
                if running.done():
                    running.result()
                await asyncio.sleep(0)
        for partition in range(PARTITIONS):
            await self.revoke(partition, lost=False)
        async with asyncio.timeout(5):
            while self._poller.held_bytes:  # noqa: ASYNC110
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running})
