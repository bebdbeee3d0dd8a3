"""Ours: the worker's own Faust app, engine, transactions and ledger, with a stage of the benchmark's own.

Every mode commits offsets and ledger entries in transactions, also the one that does nothing else: the engine has no
mode without. What counts as seen is what the engine says is committed.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import uvloop

from benchmarks.engine.contender import Result, Tally, Task, main
from schemas.codec import Codec
from streams.clock import SystemClock
from streams.engine.stage import Consumed, Decision, MicroBatch, Output, StatelessStage
from streams.faust_worker import agents
from streams.settings import Settings
from topology.graph import StageName, StageSpec
from topology.topics import CONVERSATION_EVENTS, TopicSpec


class _Raw(Codec[bytes]):
    """No decoding."""

    def __init__(self) -> None:
        super().__init__(bytes, "json")

    def decode(self, raw: bytes | None) -> bytes:
        return raw or b""


class _BenchStage(StatelessStage):
    """Applies every event, writing each to the output topic if there is one."""

    def __init__(self, task: Task, codec: Codec[Any]) -> None:
        reads = replace(CONVERSATION_EVENTS, codec=codec)
        self._writes = replace(CONVERSATION_EVENTS, name=task.output) if task.output else None
        self.spec = StageSpec(name=StageName.RECORD, purpose="is measured", reads=reads, writes=self._writes)
        self.tally = Tally(task)
        self.over = asyncio.Event()

    async def decide(self, batch: MicroBatch[Any]) -> Decision:
        self.tally.begin()
        outputs = _copies(self._writes, batch.records) if self._writes else []
        return Decision(outputs=outputs, state=batch.records)

    def committed(self, state: Sequence[Consumed[Any]]) -> None:
        offsets = self.tally.offsets
        for record in state:
            offsets[record.partition].append(record.offset)
        self.tally.records += len(state)
        self.tally.transactions += 1
        if self.tally.is_over and not self.over.is_set():
            self.tally.end()
            self.over.set()


def _copies(topic: TopicSpec, records: Sequence[Consumed[Any]]) -> list[Output]:
    return [Output(topic=topic, partition=r.partition, key=r.key, value=r.value) for r in records]


def _mode(codec: Codec[Any]) -> Callable[[Task], Result]:
    async def run(task: Task) -> Result:
        settings = (
            Settings()
            .replace("kafka", bootstrap_servers=task.bootstrap_servers, partitions=task.partitions)
            .replace("worker", generation=task.run)
            .replace("batch", max_events=task.batch)
        )
        stage = _BenchStage(task, codec)
        agents.STAGES[StageName.RECORD] = lambda *_: stage  # the rest of the app is the worker's
        app = agents.create_app(
            StageName.RECORD,
            settings=settings,
            instance="bench",
            clock=SystemClock(),
            jitter=random.Random(1),  # noqa: S311  (jitter, not secrets)
        )
        app.failed = asyncio.get_running_loop().create_future()
        over = asyncio.create_task(stage.over.wait())
        await app.start()
        ends: list[asyncio.Future[Any]] = [over, app.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await app.stop()
        if not over.done():
            app.failed.result()
        return stage.tally.result(max_events=task.batch)

    return lambda task: uvloop.run(run(task))


if __name__ == "__main__":
    main({"raw": _mode(_Raw()), "decode": _mode(CONVERSATION_EVENTS.codec)})
