"""Ours: the worker's own Faust app, engine, transactions and ledger, with a stage of the benchmark's own.

Every mode commits offsets and ledger entries in transactions, also the one that does nothing else: the engine has no
mode without. What the stage is shown is kept to be checked, what the engine says is committed counts.
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
from streams.faust_worker import agents, worker
from streams.faust_worker.app import StageApp
from streams.settings import Settings
from topology.graph import StageName, StageSpec
from topology.topics import CONVERSATION_EVENTS, TopicSpec

_LOOK_EVERY_S = 0.002


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

    async def decide(self, batch: MicroBatch[Any]) -> Decision:
        self.tally.begin()
        # A batch that is decided twice shows as disorder: in a run without faults there is none.
        offsets = self.tally.offsets
        for record in batch.records:
            offsets[record.partition].append(record.offset)
        return Decision(outputs=_copies(self._writes, batch.records) if self._writes else [])


def _copies(topic: TopicSpec, records: Sequence[Consumed[Any]]) -> list[Output]:
    return [Output(topic=topic, partition=r.partition, key=r.key, value=r.value) for r in records]


async def _follow(app: StageApp, tally: Tally) -> None:
    """Count what is committed, until it is over; raises what stops the stage."""
    assert app.failed is not None
    progress = app.runner.progress
    while not tally.is_over:
        await asyncio.wait({app.failed}, timeout=_LOOK_EVERY_S)
        if app.failed.done():
            app.failed.result()
        tally.records, tally.transactions = progress.records, progress.transactions
    tally.end()


def _mode(codec: Codec[Any]) -> Callable[[Task], Result]:
    async def run(task: Task) -> Result:
        settings = (
            Settings()
            .replace("kafka", bootstrap_servers=task.bootstrap_servers, partitions=task.partitions)
            .replace("worker", generation=task.run)
            .replace("batch", max_events=task.batch)
        )
        worker.collect_rarely()
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
        await app.start()
        await _follow(app, stage.tally)
        await app.stop()
        return stage.tally.result(max_events=task.batch)

    return lambda task: uvloop.run(run(task))


if __name__ == "__main__":
    main({"raw": _mode(_Raw()), "decode": _mode(CONVERSATION_EVENTS.codec)})
