"""The broker watch on a real Kafka, and where there is none."""

import asyncio
from datetime import timedelta

import pytest

from streams.clock import SystemClock
from streams.faust_worker.brokers import BrokerWatch
from streams.settings import KafkaSettings
from topology.provision import KafkaAwayError

NOBODY = "127.0.0.1:9"
"""The discard port: nothing listens there."""
LIMIT = timedelta(seconds=4)


class Told:
    """What a watch told the event loop."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._loop = asyncio.get_running_loop()
        self.error: asyncio.Future[KafkaAwayError] = self._loop.create_future()
        self.watch = BrokerWatch(
            settings,
            clock=SystemClock(),
            gone=lambda error: self._loop.call_soon_threadsafe(self.error.set_result, error),
        )


@pytest.mark.stack
async def test_a_broker_that_answers_is_never_gone_however_idle(kafka: str) -> None:
    """For three times the limit nobody does anything, and nobody is called gone."""
    told = Told(KafkaSettings(bootstrap_servers=kafka, away_limit=LIMIT))
    told.watch.start()
    longest_silence_s = 0.0
    for _ in range(60):
        await asyncio.sleep(0.2)
        longest_silence_s = max(longest_silence_s, told.watch.silent_s)
    told.watch.stop()

    assert not told.error.done()
    assert longest_silence_s < LIMIT.total_seconds()


async def test_brokers_that_never_answer_are_gone_after_the_limit() -> None:
    """The error names the servers, how long they have been silent, and what to do."""
    told = Told(KafkaSettings(bootstrap_servers=NOBODY, away_limit=LIMIT))
    told.watch.start()

    async with asyncio.timeout(60):
        error = await told.error

    assert str(error).startswith(f"no Kafka broker of {NOBODY} has answered for ")
    assert str(error).endswith("(limit 4 s)")
    assert error.next_step.startswith("start it or mend the way to it, then start the worker again")
    assert told.watch.silent_s > LIMIT.total_seconds()


async def test_a_listener_that_does_not_speak_is_gone_too() -> None:
    """A broker that takes connections and answers nothing, as a halted one does, counts as silent."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    told = Told(KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}", away_limit=LIMIT))
    told.watch.start()

    async with asyncio.timeout(60):
        await told.error
    server.close()


async def test_without_a_limit_silence_is_measured_and_nobody_is_told() -> None:
    """A worker that waits for ever still knows that Kafka is silent, and says so on `/ready`."""
    told = Told(KafkaSettings(bootstrap_servers=NOBODY, away_limit=timedelta(0)))
    told.watch.start()
    async with asyncio.timeout(60):
        while told.watch.silent_s < 6:  # noqa: ASYNC110  (another thread measures)
            await asyncio.sleep(0.1)
    told.watch.stop()

    assert not told.error.done()
