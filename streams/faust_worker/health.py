"""`/health` and `/ready` over HTTP, and everything that watches a running worker.

| | answers 503 when |
| --- | --- |
| `/health` | a stage has work and settles none of it for `health.stuck_after`, whatever holds it up |
| `/ready` | the same; a stage is starting; for `unready_after` a stage only repeats what fails, or Kafka is silent |

A worker that fails `/health` is to be restarted, one that fails `/ready` only is to be looked at.
A blocked event loop answers neither: a probe needs a deadline of its own. Its stacks are in the log then.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
from aiohttp import web

from streams.clock import Clock
from streams.engine.liveness import StageFacts
from streams.errors import UsageError
from streams.faust_worker.brokers import BrokerWatch
from streams.faust_worker.checkup import Checkup
from streams.faust_worker.watchdog import LoopWatchdog
from streams.settings import HealthSettings, Settings
from topology.graph import StageName
from topology.provision import KafkaAwayError

log = structlog.get_logger("memstream.worker")

_CLOSE_WITHIN_S = 1.0
"""For answers that are under way when the worker leaves."""


@asynccontextmanager
async def watched(
    stages: Mapping[StageName, Callable[[], StageFacts]], *, settings: Settings, clock: Clock
) -> AsyncIterator["asyncio.Future[None]"]:
    """While the block runs, stages, event loop and brokers are watched, and whoever asks is told.

    Yields:
        A future that ends, with `KafkaAwayError`, when no broker has answered for longer than the limit.

    Raises:
        UsageError: the address to answer on cannot be had.
    """
    loop = asyncio.get_running_loop()
    kafka_gone: asyncio.Future[None] = loop.create_future()

    def end(error: KafkaAwayError) -> None:
        if not kafka_gone.done():
            kafka_gone.set_exception(error)

    brokers = BrokerWatch(settings.kafka, clock=clock, gone=lambda error: loop.call_soon_threadsafe(end, error))
    watchdog = LoopWatchdog(loop, blocked_after=settings.health.blocked_after, clock=clock)
    checkup = Checkup(stages, brokers=brokers, settings=settings.health, clock=clock)
    async with _answering(checkup, settings.health):
        brokers.start()
        watchdog.start()
        looking = asyncio.create_task(checkup.run())
        try:
            yield kafka_gone
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            watchdog.stop()
            brokers.stop()
            if not kafka_gone.cancel():
                kafka_gone.exception()  # looked at, should the worker have ended for another reason


@asynccontextmanager
async def _answering(checkup: Checkup, settings: HealthSettings) -> AsyncIterator[None]:
    if not settings.port:
        yield
        return
    app = web.Application()
    app.router.add_get("/health", _handler(checkup, lambda: checkup.healthy))
    app.router.add_get("/ready", _handler(checkup, lambda: checkup.ready))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_WITHIN_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"cannot answer /health on {settings.host}:{settings.port}: {error}",
                next_step="choose another MEMSTREAM_HEALTH_PORT, one for each worker of a host, or 0 for none",
            ) from None
        log.info("health_answers", host=settings.host, port=settings.port)
        yield
    finally:
        await runner.cleanup()


def _handler(checkup: Checkup, well: Callable[[], bool]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(checkup.body(), status=200 if well() else 503)

    return handle
