"""One stage that is slower than its input, in a process of its own whose memory tells of nothing else.

Says how it is every 50 ms, one JSON object a line, until its standard input ends; then it leaves in order.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import structlog
from confluent_kafka import Consumer, Message

from schemas.codec import CONVERSATION_EVENTS as EVENT_CODEC
from schemas.conversation import Turn
from streams.clock import SystemClock
from streams.engine import kafka
from streams.engine.chunk import record_bytes
from streams.engine.poller import Poller
from streams.engine.runner import Runner
from streams.engine.stage import Decision, MicroBatch, Output, StatelessStage
from streams.engine.transactions import Transactions
from streams.settings import from_environment
from topology import graph
from topology.topics import CANDIDATES

SAY_EVERY_S = 0.05


class Slow(StatelessStage):
    """Writes the offset of each record to the next topic, and takes its time.

    Args:
        batch_takes_s: so long.
    """

    spec = graph.stage(graph.StageName.RECORD)

    def __init__(self, batch_takes_s: float) -> None:
        self._batch_takes_s = batch_takes_s

    async def decide(self, batch: MicroBatch[Turn]) -> Decision:
        """One output a record."""
        await asyncio.sleep(self._batch_takes_s)
        return Decision(
            outputs=[
                Output(topic=CANDIDATES, partition=r.partition, key=r.key, value=b"%d" % r.offset)
                for r in batch.records
            ]
        )


@dataclasses.dataclass
class State:
    """What this process says of itself; bytes, but for the counts.

    Attributes:
        resident: now.
        peak_resident: the most so far.
        peak_in_flight: the most so far, looked at every 50 ms and before each poll, which is when something is added.
        largest_fetch: what one poll added at most.
        settled: records.
    """

    resident: int = 0
    peak_resident: int = 0
    peak_in_flight: int = 0
    largest_fetch: int = 0
    settled: int = 0

    def look(self) -> None:
        """Ask the kernel."""
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        self.resident = int(lines["VmRSS"].split()[0]) * 1024
        self.peak_resident = int(lines["VmHWM"].split()[0]) * 1024


async def main() -> None:
    """Settings come from the environment, as everywhere."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--group", required=True)
    arguments.add_argument("--batch-takes-s", type=float, required=True)
    given = arguments.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is for `say`
    settings, state = from_environment(os.environ), State()
    stage, namespace = Slow(given.batch_takes_s), settings.kafka.namespace

    class Watched(Consumer):
        """Counts what a fetch adds, and looks at what is in flight before it."""

        _polled: Message | None = None

        def poll(self, timeout: float = -1) -> Message | None:
            state.peak_in_flight = max(state.peak_in_flight, poller.in_flight_bytes)
            self._polled = super().poll(timeout)
            return self._polled

        def consume(self, *arguments: Any, **options: Any) -> list[Message]:
            messages = super().consume(*arguments, **options)
            fetched = [m for m in (self._polled, *messages) if m is not None and m.error() is None]
            state.largest_fetch = max(state.largest_fetch, record_bytes(fetched))
            return messages

    poller = Poller(
        kafka.stage_consumer(settings.kafka, client_id="slow", group_id=given.group, instance_id="slow"),
        topic=namespace + stage.spec.reads.name,
        max_in_flight_bytes=settings.batch.max_in_flight_bytes,
        revoke_deadline=settings.worker.revoke_deadline,
        monotonic_s=time.monotonic,
        make_consumer=Watched,
    )
    runner = Runner(
        stage,
        codec=EVENT_CODEC,
        poller=poller,
        transactions=Transactions(
            kafka.transactional_producer(settings.kafka, client_id="slow", transactional_id=given.group),
            kafka.producer(settings.kafka, client_id="slow"),
            kafka.group_positions(settings.kafka, client_id="slow", group_id=given.group),
            namespace=namespace,
            monotonic_s=time.monotonic,
        ),
        settings=settings,
        clock=SystemClock(),
        jitter=random.Random(1),
    )
    await runner.open()
    say(state, runner, poller)  # ready, and nothing read yet
    ended = poller.start(runner, runner.feed)
    running = asyncio.create_task(runner.run())
    told_to_leave = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not told_to_leave.done() and not running.done() and not ended.done():
        await asyncio.sleep(SAY_EVERY_S)
        say(state, runner, poller)
    await poller.stop()
    await ended
    if running.done():
        running.result()
    running.cancel()
    await asyncio.wait({running})
    await runner.close()
    say(state, runner, poller)


def say(state: State, runner: Runner, poller: Poller) -> None:
    """One line."""
    state.settled = runner.progress.records
    state.peak_in_flight = max(state.peak_in_flight, poller.in_flight_bytes)
    state.look()
    sys.stdout.write(json.dumps(dataclasses.asdict(state)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
