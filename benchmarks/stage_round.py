"""One round of `benchmarks.stage_cost`: turns through all six stages in one process, without broker and cache server.

Every stage runs to the end of a log in memory before the next one starts, in micro-batches of the worker's size, into a
SQLite store of its own. Prints what it took as JSON. This file runs over whatever checkout stands in `PYTHONPATH`.
"""

import asyncio
import cProfile
import gc
import pstats
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec

from benchmarks import workload
from schemas.headers import RawHeaders
from schemas.ids import UserKey
from streams.clock import SystemClock
from streams.embedders.factory import create_embedder
from streams.engine.stage import Consumed, MicroBatch, Output, Stage
from streams.extractors.factory import create_extractor
from streams.settings import Settings
from streams.stages.consolidate import Consolidate
from streams.stages.embed import Embed
from streams.stages.extract import Extract
from streams.stages.index import Index
from streams.stages.invalidate import Invalidate
from streams.stages.record import Record
from streams.stages.windows import WindowRule
from streams.stores.factory import create_store
from topology import keys, topics
from topology.topics import TopicSpec

_PARTITIONS = 4
_SEED = 1
_GC_THRESHOLDS = (50_000, 20, 20)
"""The worker's; not imported from it, since this file also runs over checkouts that have none."""
_EPOCH_MS = 1_740_000_000_000
_SLOWEST = 40
"""Functions that `--profile` prints."""


@dataclass(slots=True)
class _Stored:
    """One record of the log."""

    offset: int
    raw_key: bytes | None
    raw_value: bytes | None
    headers: RawHeaders | None

    def key(self) -> bytes | None:
        return self.raw_key

    def value(self) -> bytes | None:
        return self.raw_value


class _Log:
    """Topics as lists; remembers a hash of everything that was written."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, int], list[_Stored]] = {}
        self._hash = sha256()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def append(self, output: Output) -> None:
        assert output.partition is not None, "nothing is misplaced here"
        stored = self._records.setdefault((output.topic.name, output.partition), [])
        stored.append(_Stored(len(stored), output.key, output.value, output.headers))
        self._hash.update(
            repr((output.topic.name, output.partition, output.key, output.value, output.headers)).encode()
        )

    def batches(self, topic: TopicSpec, max_events: int) -> Iterator[list[tuple[int, _Stored]]]:
        """Micro-batches that take an equal share of each partition, as the engine's."""
        partitions = [p for p in range(_PARTITIONS) if (topic.name, p) in self._records]
        rows = [iter(self._records[topic.name, p]) for p in partitions]
        while True:
            shares = [list(islice(records, max_events // _PARTITIONS)) for records in rows]
            batch = [(p, stored) for p, share in zip(partitions, shares, strict=True) for stored in share]
            if not batch:
                return
            yield batch

    async def read(
        self, topic: TopicSpec, partition: int, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[list[Any]]:
        """As `streams.engine.catch_up.LogReader`."""
        if stored := self._records.get((topic.name, partition), [])[start:stop]:
            yield list(stored)


class _NoCache:
    """Takes the place of Redis: what the client costs is not a stage's own work."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def invalidate(self, versions: Mapping[UserKey, int], memory_ids: Mapping[UserKey, AbstractSet[str]]) -> None:
        """Forget it."""

    async def versions(self, users: Sequence[UserKey]) -> dict[UserKey, int]:  # noqa: ARG002
        """Know nobody."""
        return {}


class Cost(msgspec.Struct):
    """What one stage took for all turns of a round.

    Attributes:
        records: it consumed.
        steps: seconds of processor time, by step.
    """

    records: int = 0
    steps: dict[str, float] = {}

    @property
    def own_s(self) -> float:
        """All steps; encoding is part of deciding and counts once."""
        return sum(took_s for step, took_s in self.steps.items() if step != "encode")


class Round(msgspec.Struct):
    """One round of one checkout.

    Attributes:
        stages: cost by stage, in event order.
        digest: of every record that was written, in order.
    """

    stages: dict[str, Cost]
    digest: str


@dataclass
class _Stopwatch:
    """Adds up processor time by step; all threads count, so that the store's is in it."""

    cost: Cost
    since_s: float = field(default_factory=time.process_time)

    def lap(self, step: str) -> None:
        now_s = time.process_time()
        self.cost.steps[step] = self.cost.steps.get(step, 0.0) + now_s - self.since_s
        self.since_s = time.process_time()

    def skip(self) -> None:
        self.since_s = time.process_time()


def _stages(settings: Settings, log: _Log) -> list[Stage[Any]]:
    """The six stages, as the worker makes them, with this log in Kafka's place."""
    embedder, clock, extract = create_embedder(), SystemClock(), settings.extract
    generation, consolidate = settings.worker.generation, settings.consolidate
    return [
        Record(partitions=_PARTITIONS),
        Extract(
            create_extractor(extract),
            reader=log,
            clock=clock,
            rule=WindowRule(max_turns=extract.window_turns, context_turns=extract.context_turns, gap=extract.gap),
            partitions=_PARTITIONS,
            idle_after=extract.idle_after,
            timeout=extract.timeout,
        ),
        Embed(embedder),
        Consolidate(
            create_store(settings, dimensions=embedder.dimensions),
            reader=log,
            clock=clock,
            generation=generation,
            max_users=consolidate.max_users,
            load_deadline=consolidate.load_deadline,
        ),
        Index(
            create_store(settings, dimensions=embedder.dimensions),
            reader=log,
            generation=generation,
        ),
        Invalidate(_NoCache()),
    ]


async def _run_stage(stage: Stage[Any], log: _Log, max_events: int) -> Cost:
    cost = Cost()
    gc.collect()
    gc.freeze()  # the log so far is no worker's memory: no collection shall look at it
    gc.set_threshold(*_GC_THRESHOLDS)
    await stage.open()
    for partition in range(_PARTITIONS):
        await stage.load(partition, position=0)
    for raw in log.batches(stage.spec.reads, max_events):
        watch = _Stopwatch(cost)
        batch = _decoded(raw, stage.spec.reads)
        watch.lap("decode")
        decision = await stage.decide(batch)
        if decision.ask is not None:
            decision.outputs = [*(await decision.ask()).outputs, *decision.outputs]
        watch.lap("decide")
        if decision.effect is not None:
            await stage.perform(decision.effect)
            watch.lap("effect")
        if decision.state is not None:
            stage.apply(decision.state)
            watch.lap("state")
        written = [(o.topic.codec, o.topic.codec.decode(o.value)) for o in decision.outputs if o.value is not None]
        watch.skip()
        for codec, record in written:
            codec.encode(record)
        watch.lap("encode")  # done again only to know its share of `decide`
        cost.records += len(batch.records)
        for output in decision.outputs:
            log.append(output)
    await stage.close()
    return cost


def _decoded(raw: Sequence[tuple[int, _Stored]], topic: TopicSpec) -> MicroBatch[Any]:
    records: list[Consumed[Any]] = []
    for partition, stored in raw:
        assert stored.raw_value is not None
        event = topic.codec.decode(stored.raw_value)
        records.append(
            Consumed(
                partition,
                stored.offset,
                _EPOCH_MS + stored.offset,
                stored.raw_key,
                stored.raw_value,
                stored.headers,
                event,
            )
        )
    return MicroBatch(records=records, last_offsets={c.partition: c.offset for c in records})


async def _run(events: Sequence[workload.Event]) -> Round:
    log = _Log()
    for event in events:
        partition = keys.partition_of(event.turn.user, _PARTITIONS)
        log.append(Output(topic=topics.CONVERSATION_EVENTS, partition=partition, key=event.key, value=event.value))
    with tempfile.TemporaryDirectory(prefix="memstream-stage-cost-") as folder:
        settings = Settings().replace("store", kind="sqlite", path=str(Path(folder) / "store.db"))
        settings = settings.replace("store", timeout=timedelta(minutes=1))
        costs = {
            str(stage.spec.name): await _run_stage(stage, log, settings.batch.max_events)
            for stage in _stages(settings, log)
        }
    return Round(stages=costs, digest=log.digest)


@click.command()
@click.argument("turns", type=int)
@click.argument("users", type=int)
@click.option("--profile", is_flag=True, help="Also print the functions that take longest, on standard error.")
def main(turns: int, users: int, *, profile: bool) -> None:
    """Measure one round, after a smaller one with other turns of the same people that warms caches up."""
    asyncio.run(_run(workload.conversations(turns=max(1, turns // 4), users=users, seed=_SEED + 1, run="warm")))
    events = workload.conversations(turns=turns, users=users, seed=_SEED, run="cost")
    if profile:
        profiler = cProfile.Profile()
        found = profiler.runcall(lambda: asyncio.run(_run(events)))
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(_SLOWEST)
    else:
        found = asyncio.run(_run(events))
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
