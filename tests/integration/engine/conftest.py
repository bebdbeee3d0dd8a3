"""The engine with a stage of the test's own, on a real Kafka and without Faust."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from e2e.log_history import LogFollower

from schemas.codec import CONVERSATION_EVENTS as EVENT_CODEC
from schemas.conversation import Turn
from streams.clock import SystemClock
from streams.engine import group_configs, kafka
from streams.engine.poller import Poller
from streams.engine.runner import Runner
from streams.engine.transactions import Transactions
from streams.settings import Settings
from topology import keys
from topology.topics import CONVERSATION_EVENTS


class RunningStage:
    """One stage in the engine, as `streams.faust_worker.app` puts it together.

    Args:
        stage: what runs.
        settings: everything else.
        instance: names member and transactional id.
    """

    def __init__(self, stage: Any, settings: Settings, instance: str = "test") -> None:
        spec = stage.spec
        group_id = spec.group_id(namespace=settings.kafka.namespace)
        group_configs.apply(settings.kafka, [group_id])
        self.poller = Poller(
            kafka.stage_consumer(settings.kafka, client_id=instance, group_id=group_id, instance_id=instance),
            topic=settings.kafka.namespace + spec.reads.name,
            max_in_flight_bytes=settings.batch.max_in_flight_bytes,
            revoke_deadline=settings.worker.revoke_deadline,
            monotonic_s=time.monotonic,
        )
        transactional_id = keys.transactional_id(spec.name, instance, namespace=settings.kafka.namespace)
        self.runner = Runner(
            stage,
            codec=EVENT_CODEC,
            poller=self.poller,
            transactions=Transactions(
                kafka.transactional_producer(settings.kafka, client_id=instance, transactional_id=transactional_id),
                kafka.producer(settings.kafka, client_id=instance),
                kafka.group_positions(settings.kafka, client_id=instance, group_id=group_id),
                namespace=settings.kafka.namespace,
                monotonic_s=time.monotonic,
            ),
            settings=settings,
            clock=SystemClock(),
            jitter=random.Random(1),
        )
        self.running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Settle batches from now on."""
        await self.runner.open()
        self.poller.start(self.runner, self.runner.feed)
        self.running = asyncio.create_task(self.runner.run())

    async def until(self, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait for a condition; fails at once when the stage stops by itself."""
        assert self.running is not None
        async with asyncio.timeout(within_s):
            while not condition():
                if self.running.done():
                    self.running.result()
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Leave in order; safe to call twice."""
        if self.running is None:
            return
        running, self.running = self.running, None
        await self.poller.stop()
        running.cancel()
        await asyncio.wait({running})
        await self.runner.close()


@pytest.fixture(params=["classic", "consumer"])
def each_protocol(request: pytest.FixtureRequest, light_settings: Settings) -> Settings:
    """Settings under each of the two group protocols: the engine keeps the same promises under both."""
    return light_settings.replace("kafka", group_protocol=request.param)


@pytest.fixture
async def run() -> AsyncIterator[Callable[..., Any]]:
    """Starts stages and stops them at the end."""
    started: list[RunningStage] = []

    async def start(stage: Any, settings: Settings, instance: str = "test") -> RunningStage:
        started.append(RunningStage(stage, settings, instance))
        await started[-1].start()
        return started[-1]

    yield start
    for stage in started:
        await stage.stop()


@pytest.fixture
def publish(light_settings: Settings) -> Callable[..., list[Turn]]:
    """Publishes turns with given contents, by several users, and waits until the log has them."""
    producer = Producer(kafka.producer(light_settings.kafka, client_id="test"))

    def publish(contents: list[str], *, users: int = 20) -> list[Turn]:
        turns = []
        for number, content in enumerate(contents):
            turn = Turn(
                tenant="acme",
                user_id=f"user-{number % users}",
                conversation_id="c",
                event_id=f"e{number}",
                role="user",
                content=content,
            )
            turns.append(turn)
            producer.produce(
                light_settings.kafka.namespace + CONVERSATION_EVENTS.name,
                key=keys.user_key_bytes(turn.user),
                value=EVENT_CODEC.encode(turn),
            )
        assert producer.flush(20) == 0
        return turns

    return publish


@pytest.fixture
def follower(light_settings: Settings) -> Any:
    """What stands on the topics."""
    with LogFollower(light_settings) as follower:
        yield follower
