"""Faust as it comes, on its own aiokafka driver: `take`, `noack`, and the default mode with a send for every event.

Its default event loop is asyncio's; `take` is also run on uvloop, which it offers as an option.
"""

import asyncio
import tempfile
from collections.abc import Callable
from typing import Any

import faust
import uvloop

from benchmarks.engine.contender import Result, Tally, Task, finish, main, number_of, place_of

_TAKE = 500
_WITHIN_S = 0.1
_WATCH_S = 0.05


class _Run:
    """One app with one agent, until the tally is over."""

    def __init__(self, task: Task, folder: str) -> None:
        self.task = task
        self.tally = Tally(task)
        self.over = asyncio.Event()
        self.app = faust.App(
            f"bench-{task.run}",
            broker=f"kafka://{task.bootstrap_servers}",
            datadir=folder,
            web_enabled=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
        )
        self.source = self._topic(task.topic)
        self.values: list[bytes] = []

    def _topic(self, name: str) -> Any:
        return self.app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    def stop_if_over(self) -> None:
        if self.tally.is_over and not self.over.is_set():
            self.tally.end()
            self.over.set()

    async def watch(self) -> None:
        """End when the time is up, also when nothing comes any more."""
        while not self.over.is_set():
            await asyncio.sleep(_WATCH_S)
            self.stop_if_over()

    async def take(self, stream: Any) -> None:
        # Only the values are given out here: places are read from them when the time has been taken.
        async for batch in stream.take(_TAKE, within=_WITHIN_S):
            self.tally.begin()
            if self.over.is_set():
                return
            self.values.extend(batch)
            self.tally.records += len(batch)
            self.stop_if_over()

    async def noack(self, stream: Any) -> None:
        async for event in stream.noack().events():
            self.tally.begin()
            if self.over.is_set():
                return
            self.tally.add(event.message.partition, event.message.offset)
            await stream.ack(event)
            self.stop_if_over()

    async def send_each(self, stream: Any) -> None:
        output = self._topic(str(self.task.output))
        async for event in stream.events():
            self.tally.begin()
            await output.send(key=event.key, value=event.value, partition=event.message.partition)
            self.tally.add(event.message.partition, event.message.offset)
            if self.tally.is_over:
                await self.app.producer.flush()  # what counts is what the broker has
                self.stop_if_over()
                return


def _mode(
    agent: Callable[[_Run, Any], Any], *, watched: bool = True, loop: Callable[..., Result] = asyncio.run
) -> Callable[[Task], Result]:
    async def run(task: Task) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            running = _Run(task, folder)

            async def consume(stream: Any) -> None:
                await agent(running, stream)

            running.app.agent(running.source)(consume)
            await running.app.start()
            await (running.watch() if watched else running.over.wait())
            for value in running.values:
                partition, offset = place_of(number_of(value), task.partitions)
                running.tally.offsets[partition].append(offset)
        # Not from outside the loop: closing it waits for tasks of Faust's that do not end (seen under load).
        finish(running.tally.result())

    return lambda task: loop(run(task))


if __name__ == "__main__":
    main(
        {
            "take": _mode(_Run.take),
            "take_uvloop": _mode(_Run.take, loop=uvloop.run),
            "noack": _mode(_Run.noack),
            "send_each": _mode(_Run.send_each, watched=False),  # it ends itself, after a flush
        }
    )
