"""One worker process: the apps of some stages in one event loop, until a signal or a failure."""

import asyncio
import gc
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import structlog
import uvloop

from streams.clock import SystemClock
from streams.engine import group_configs
from streams.engine.kafka import CLIENT_LOG
from streams.engine.steps import Observe, unobserved
from streams.faust_worker.agents import create_app
from streams.faust_worker.app import StageApp
from streams.faust_worker.health import watched
from streams.faust_worker.instances import claim_instance
from streams.faust_worker.stacks import write_threads
from streams.settings import Settings
from topology import graph, provision
from topology.graph import StageName

log = structlog.get_logger("memstream.worker")

_LEAVE_WITHIN_S = 60.0
"""Without Kafka. A call that waits for it gives up after 10 s (`streams.engine.transactions`); several may follow."""
_EXIT_NOTHING_THERE = 3
"""As documented for all commands (`docs/commands.md`)."""
_GC_THRESHOLDS = (50_000, 20, 20)
"""A batch makes tens of thousands of objects and lets go of all of them, none in a cycle. With Python's own thresholds
(700, 10, 10) the collector looks at them hundreds of times for nothing: a third of the workers' processor time."""


def run(
    settings: Settings,
    stages: Sequence[StageName],
    *,
    ready: Callable[[], None],
    observe: Callable[[StageName], Observe] = lambda _: unobserved,
) -> None:
    """Run stages until SIGINT or SIGTERM.

    Args:
        settings: everything.
        stages: which ones, at least one.
        ready: called once all stages are connected.
        observe: gives what is told of each step of a stage's batches; tests let a worker die there.

    Raises:
        MemstreamError: a stage stopped by itself; its open batch is uncommitted and will be done again.
        KafkaAwayError: no broker has answered for `kafka.away_limit`, or none did at the start.
    """
    configure_logging(settings.worker.log_level)
    collect_rarely()
    with ExitStack() as locks:
        instances = {stage: locks.enter_context(claim_instance(settings, stage)) for stage in stages}
        uvloop.run(_run(settings, instances, ready, observe))


def collect_rarely() -> None:
    """Let the garbage collector look seldom, and never at what was imported, which stays as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def _run(
    settings: Settings,
    instances: Mapping[StageName, str],
    ready: Callable[[], None],
    observe: Callable[[StageName], Observe],
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    kafka = settings.kafka
    await loop.run_in_executor(
        None,
        lambda: provision.apply(
            kafka.bootstrap_servers,
            namespace=kafka.namespace,
            partitions=kafka.partitions,
            replication=kafka.replication,
            alter_configs=False,  # an operator's own retention stays; `memstream topology check` tells of differences
        ),
    )
    groups = [
        graph.stage(name).group_id(namespace=kafka.namespace, generation=settings.worker.generation)
        for name in instances
    ]
    await loop.run_in_executor(None, group_configs.apply, kafka, groups)
    clock = SystemClock()
    alone = asyncio.Lock()
    apps = [
        create_app(
            name,
            settings=settings,
            instance=instance,
            clock=clock,
            jitter=random.Random(),  # noqa: S311  (spreads retries, nothing more)
            observe=observe(name),
            alone=alone,
        )
        for name, instance in instances.items()
    ]

    def all_ready() -> None:
        log.info("worker_ready", instances={str(name): instance for name, instance in instances.items()})
        ready()

    facts = {app.stage.spec.name: app.facts for app in apps}
    async with watched(facts, settings=settings, clock=clock) as kafka_gone:
        await _run_apps(apps, stopping, kafka_gone, all_ready)


async def _run_apps(
    apps: Sequence[StageApp], stopping: asyncio.Event, kafka_gone: "asyncio.Future[None]", ready: Callable[[], None]
) -> None:
    for app in apps:
        app.failed = asyncio.get_running_loop().create_future()
    stop = asyncio.create_task(stopping.wait())
    try:
        # Together, so that a store that is away delays the stages that need it and no other.
        starting = asyncio.gather(*(app.start() for app in apps))
        starting.add_done_callback(_looked_at)
        ends: list[asyncio.Future[Any]] = [stop, kafka_gone, *(app.failed for app in apps if app.failed is not None)]
        await asyncio.wait([starting, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()  # stopped, or a stage has failed while others still wait for what they need
        else:
            starting.result()
            ready()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        if kafka_gone.done():
            log.error("kafka_gone", error=str(kafka_gone.exception()))
            end_process_within(_LEAVE_WITHIN_S)
        await asyncio.gather(*(app.stop() for app in apps), return_exceptions=True)
    if kafka_gone.done():
        kafka_gone.result()
    for app in apps:
        if app.failed is not None and app.failed.done() and app.failed.exception() is not None:
            log.error("stage_failed", stage=str(app.stage.spec.name), error=repr(app.failed.exception()))
    for app in apps:
        if app.failed is not None and app.failed.done():
            app.failed.result()


def _looked_at(future: "asyncio.Future[Any]") -> None:
    """Take note of how a future ended of which nobody may ask: else asyncio writes a traceback about it."""
    if not future.cancelled():
        future.exception()


def end_process_within(limit_s: float) -> None:
    """End this process after so long, should it still be there, whatever its threads wait for.

    Nothing is lost by that: what is not committed is done again, as after a crash.
    """

    def end() -> None:
        log.error("ended_by_force", after_s=limit_s)
        write_threads(sys.stderr)
        os._exit(_EXIT_NOTHING_THERE)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()


def configure_logging(level: str) -> None:
    """Event name plus fields, one line each, to standard error; Faust's and Kafka's own only from warnings up."""
    steps: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=True) if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*steps, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    CLIENT_LOG.propagate = True
    structlog.configure(
        processors=[*steps, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
