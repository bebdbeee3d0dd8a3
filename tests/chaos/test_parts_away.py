"""A part of the stack is away while load goes on: Kafka in order and by crash, Redis and Weaviate for ten seconds."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from chaos.journal import Deed
from chaos.steady_load import SteadyLoad
from chaos.verdict import assert_nothing_lost_or_doubled
from chaos.watched import WatchedWorker
from e2e.conversations import generate
from e2e.log_history import LogFollower

from infra.native.stack import Stack
from streams.cli.context import stack_settings
from streams.settings import Settings
from topology import provision
from topology.graph import StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

_AWAY_S = 10.0
_ROUNDS = int(os.environ.get("CHAOS_BROKER_ROUNDS", "1"))
"""How often the broker goes in order and by crash: a client that gets stuck for good does so in one of several."""
_HANGS_S = 40.0
"""Twice what a producer waits (`streams.engine.transactions`), for its outputs or its commit and then for the abort."""
_LAST_WORDS_S = 0.5
"""For what had answered before it went, and is written down a moment later."""


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A full stack whose parts may be taken away."""
    stack = Stack("full", home=tmp_path_factory.mktemp("own-stack"))
    try:
        stack.up()
        yield stack
    finally:
        stack.down(wipe=True)


@pytest.fixture
def own_settings(own_stack: Stack, namespace: str) -> Settings:
    """Settings for it; small batches, so that many are open in the course of a run."""
    settings = stack_settings(Settings(), own_stack.up()).replace("kafka", namespace=namespace, partitions=4)
    kafka = settings.kafka
    provision.apply(kafka.bootstrap_servers, namespace=namespace, partitions=kafka.partitions, replication=1)
    return settings.replace("extract", idle_after=timedelta(seconds=2)).replace("batch", max_events=16)


@pytest.mark.timeout(240 * _ROUNDS)
async def test_a_restart_of_the_broker_loses_and_doubles_nothing(
    own_stack: Stack,
    own_settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """The broker goes, in order and by crash, in the middle of transactions; the worker goes on by itself."""
    worker = new_worker(own_settings)
    async with SteadyLoad(own_settings, generate(seed, users=40, turns=6000 * _ROUNDS)) as load:
        worker.start()
        await asyncio.to_thread(worker.wait_for_partitions)
        for take_away in (own_stack.stop_part, own_stack.kill_part) * _ROUNDS:
            await load.wait_for_more(100)
            await asyncio.to_thread(take_away, "kafka")
            await asyncio.to_thread(own_stack.start_part, "kafka")
            await asyncio.to_thread(wait_until_all_settle, worker)
    await assert_drained_and_sound(worker, own_settings, load, follow)


async def test_a_broker_that_hangs_costs_producers_and_nothing_else(
    own_stack: Stack,
    own_settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """Halted for longer than a producer waits: commits go unanswered, and the log tells which took place."""
    worker = new_worker(own_settings)
    async with SteadyLoad(own_settings, generate(seed, users=40, turns=6000)) as load:
        worker.start()
        await asyncio.to_thread(worker.wait_for_partitions)
        await load.wait_for_more(100)
        (broker,) = [part.pid for part in own_stack.parts() if part.name == "kafka" and part.pid is not None]
        os.kill(broker, signal.SIGSTOP)
        try:
            await asyncio.sleep(_HANGS_S)
        finally:
            os.kill(broker, signal.SIGCONT)
        await asyncio.to_thread(wait_until_all_settle, worker)
    assert "producer_renewed" in worker.log(), "no producer was waited for too long: this test would prove nothing"
    await assert_drained_and_sound(worker, own_settings, load, follow)


@pytest.mark.parametrize(
    ("part", "halted", "going"),
    [
        ("redis", StageName.INVALIDATE, set(StageName) - {StageName.INVALIDATE}),
        ("weaviate", StageName.INDEX, {StageName.RECORD, StageName.EXTRACT, StageName.EMBED}),
    ],
    ids=["redis", "weaviate"],
)
async def test_a_part_that_is_away_halts_only_who_needs_it(
    part: str,
    halted: StageName,
    going: set[StageName],
    own_stack: Stack,
    own_settings: Settings,
    seed: int,
    new_worker: Callable[..., WatchedWorker],
    follow: Callable[..., LogFollower],
) -> None:
    """The stage with effects there does none for ten seconds, and all of them afterwards; stages before it go on."""
    worker = new_worker(own_settings)
    async with SteadyLoad(own_settings, generate(seed, users=40, turns=6000)) as load:
        worker.start()
        await asyncio.to_thread(worker.wait_for_partitions)
        await asyncio.to_thread(wait_until_all_settle, worker)
        await asyncio.to_thread(own_stack.stop_part, part)
        await asyncio.sleep(_LAST_WORDS_S)
        away_ns = time.monotonic_ns()
        await asyncio.sleep(_AWAY_S)
        back_ns = time.monotonic_ns()
        await asyncio.to_thread(own_stack.start_part, part)
        await asyncio.to_thread(wait_until_all_settle, worker)
    meanwhile = [entry for entry in worker.entries() if away_ns < entry.at_ns < back_ns]
    assert not [e for e in meanwhile if (e.stage, e.deed) == (halted, Deed.PERFORMED)], f"{part} was not away"
    assert [e for e in meanwhile if (e.stage, e.deed) == (halted, Deed.PERFORMING)], f"{halted} had nothing to do"
    settled = {entry.stage for entry in meanwhile if entry.deed is Deed.COMMITTED}
    assert going <= settled, f"while {part} was away only {sorted(settled)} went on"
    await assert_drained_and_sound(worker, own_settings, load, follow)


async def assert_drained_and_sound(
    worker: WatchedWorker, settings: Settings, load: SteadyLoad, follow: Callable[..., LogFollower]
) -> None:
    """The worker has lived through it, and nothing is lost or doubled."""
    history = await asyncio.to_thread(follow(settings).wait_until_drained, timeout_s=120)
    worker.assert_running()
    await assert_nothing_lost_or_doubled(history, settings, load.sent, worker.entries())


def wait_until_all_settle(worker: WatchedWorker) -> None:
    """Return once each stage has settled a batch from now on."""
    since = len(worker.own(Deed.COMMITTED))
    worker.wait_for(
        lambda: {entry.stage for entry in worker.own(Deed.COMMITTED)[since:]} == set(StageName),
        "commits of every stage",
        timeout_s=90,
    )
