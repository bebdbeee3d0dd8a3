"""One Faust app per stage, with a consumer group, a transactional producer and an engine of its own."""

import asyncio
import random
from collections.abc import Iterable
from typing import Any

import faust
from confluent_kafka import Consumer as KafkaConsumer
from faust.app.base import BootStrategy as FaustBootStrategy
from mode import Service
from mode.types import ServiceT

from schemas.conversation import AnyConversationEvent
from streams.clock import Clock
from streams.engine import kafka
from streams.engine.liveness import StageFacts
from streams.engine.poller import Poller
from streams.engine.runner import Runner
from streams.engine.stage import Stage
from streams.engine.steps import Observe, unobserved
from streams.engine.transactions import Transactions
from streams.settings import Settings
from topology import keys


class BootStrategy(FaustBootStrategy):
    """Start the engine, the consumer, the agent and the conductor; no web server, tables or producer of Faust's."""

    def server(self) -> Iterable[ServiceT]:
        """In the order they start; they stop in the opposite one."""
        return [self.app.engine, self.app.consumer, self.app.agents, self.app.topics]


class Engine(Service):
    """Runs the stage's batches as long as the app runs."""

    def __init__(self, app: "StageApp", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app
        self._task: asyncio.Task[None] | None = None

    @property
    def opened(self) -> bool:
        """Whether everything is connected."""
        return self._task is not None

    async def on_start(self) -> None:
        """Connect the stage, fence a predecessor, then settle batches."""
        await self._app.runner.open()
        self._task = asyncio.create_task(self._app.runner.run())
        self._task.add_done_callback(self._app.on_runner_ended)

    async def on_stop(self) -> None:
        """The consumer has given everything back by now: nothing is open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._app.runner.close()


class StageApp(faust.App):
    """The Faust app of one stage.

    Args:
        stage: what it runs.
        settings: everything else.
        instance: of this process, the same after a restart; part of the static member id and of the transactional id.
        clock: what time it is.
        jitter: randomness of the backoff.
        observe: told of each step of each batch.
        alone: see `streams.engine.quarantine`; one for all apps of a process.

    Attributes:
        failed: ends with the error that stopped the stage, or with none when it was stopped in order.
    """

    BootStrategy = BootStrategy
    consumer_generation_id = 0

    def __init__(
        self,
        stage: Stage[Any],
        *,
        settings: Settings,
        instance: str,
        clock: Clock,
        jitter: random.Random,
        observe: Observe = unobserved,
        alone: asyncio.Lock | None = None,
    ) -> None:
        spec = stage.spec
        group_id = spec.group_id(namespace=settings.kafka.namespace, generation=settings.worker.generation)
        client_id = f"memstream.{spec.name}.{instance}"
        super().__init__(
            group_id,
            broker=f"memstream://{settings.kafka.bootstrap_servers.split(',')[0]}",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            # The engine bounds what is in flight by bytes; the agent's queue only passes chunks on.
            stream_buffer_maxsize=4096,
            stream_wait_empty=False,
            autodiscover=False,
        )
        self.stage = stage
        self.poller = Poller(
            kafka.stage_consumer(
                settings.kafka, client_id=client_id, group_id=group_id, instance_id=f"{spec.name}.{instance}"
            )
            | (kafka.GATHERS if spec.lane is not None else {}),
            topic=settings.kafka.namespace + spec.reads.name,
            max_in_flight_bytes=settings.batch.max_in_flight_bytes,
            revoke_deadline=settings.worker.revoke_deadline,
            monotonic_s=clock.monotonic_s,
            make_consumer=KafkaConsumer,
        )
        codec = spec.reads.codec
        if codec.record_type is AnyConversationEvent:
            codec = codec.limited_to(settings.worker.max_event_bytes)
        self.runner = Runner(
            stage,
            codec=codec,
            poller=self.poller,
            transactions=Transactions(
                kafka.transactional_producer(
                    settings.kafka,
                    client_id=client_id,
                    transactional_id=keys.transactional_id(
                        spec.name,
                        instance,
                        namespace=settings.kafka.namespace,
                        generation=settings.worker.generation,
                    ),
                ),
                kafka.producer(settings.kafka, client_id=client_id),
                kafka.group_positions(settings.kafka, client_id=client_id, group_id=group_id),
                namespace=settings.kafka.namespace,
                monotonic_s=clock.monotonic_s,
                observe=observe,
            ),
            settings=settings,
            clock=clock,
            jitter=jitter,
            observe=observe,
            alone=alone,
        )
        self.engine = Engine(self)
        self.failed: asyncio.Future[None] | None = None

    async def on_first_start(self) -> None:
        """Nothing on disk: Faust would make a data folder for tables."""
        # The conductor waits for tables to be registered before it subscribes; there are none and never will be.
        self.tables._tables_registered.set()  # noqa: SLF001  (pinned by tests/contract/test_faust.py)

    async def on_stop(self) -> None:
        """Nothing: the services stop themselves, each within its deadline."""

    def facts(self) -> StageFacts:
        """What is told of the stage to whoever judges whether it gets on; on the event loop only."""
        positions, progress = self.runner.positions, self.runner.progress
        return StageFacts(
            opened=self.engine.opened,
            polls=self.poller.polls,
            loaded=frozenset(positions),
            loading=self.poller.loading - positions.keys(),
            unsettled={partition: first for partition, (first, fetched) in positions.items() if first < fetched},
            settled=progress.records,
            retries=progress.retries,
        )

    def on_runner_ended(self, task: "asyncio.Task[None]") -> None:
        """The engine has stopped; by itself only with an error."""
        self._end(None if task.cancelled() else task.exception())

    def on_poller_ended(self, ended: "asyncio.Future[None]") -> None:
        """Polling has stopped; by itself only with an error."""
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self.failed is None or self.failed.done():
            return
        if error is None:
            self.failed.set_result(None)
        else:
            self.failed.set_exception(error)
