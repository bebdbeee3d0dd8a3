"""Every behaviour of Faust that the worker relies on; a new version of Faust must pass this first.

No broker: a poller that the test holds in its hand stands where librdkafka would be.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import faust
import pytest
from faust.tables.manager import TableManager
from faust.types import TP

from streams.clock import SystemClock
from streams.engine.chunk import Chunk, Lease
from streams.engine.stage import Decision, StatelessStage
from streams.faust_worker import transport
from streams.faust_worker.app import BootStrategy, StageApp
from streams.settings import Settings
from topology import graph

TOPIC = "tests.conversation.events.v1"


class Idle(StatelessStage):
    """A stage that is never asked."""

    spec = graph.stage(graph.StageName.RECORD)

    async def decide(self, batch: Any) -> Decision:
        """Nothing."""
        return Decision()


class HeldPoller:
    """Stands for the poller: remembers that it was started, and delivers what the test hands it."""

    def __init__(self) -> None:
        self.started_for: Any = None
        self.deliver: Callable[[Chunk], None]
        self.released_bytes = 0
        self.stopped = False

    def start(self, owner: Any, deliver: Callable[[Chunk], None]) -> asyncio.Future[None]:
        """Remember who asked."""
        self.started_for, self.deliver = owner, deliver
        return asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Remember it."""
        self.stopped = True

    def release(self, size_bytes: int) -> None:
        """Count."""
        self.released_bytes += size_bytes


class HeldRunner:
    """Stands for the runner: remembers the order of its life."""

    def __init__(self) -> None:
        self.life: list[str] = []

    async def open(self) -> None:
        """Remember it."""
        self.life.append("open")

    async def run(self) -> None:
        """Run for ever."""
        self.life.append("run")
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Remember it."""
        self.life.append("close")

    async def settled_before(self, partitions: list[int]) -> dict[int, int]:
        """Nothing is."""
        return {}

    async def assigned(self, leases: list[Lease]) -> None:
        """Nothing to load."""

    async def revoked(self, leases: list[Lease], *, lost: bool) -> None:
        """Nothing is open: end the leases."""
        for lease in leases:
            lease.closing, lease.alive = True, False


class AppUnderTest(StageApp):
    """A stage's app with its engine taken out, and with an agent that keeps what it gets."""

    def __init__(self, *, acknowledging: bool = False) -> None:
        settings = Settings().replace("kafka", bootstrap_servers="127.0.0.1:1", namespace="tests.")
        super().__init__(Idle(), settings=settings, instance="test", clock=SystemClock(), jitter=random.Random(1))
        self.poller = HeldPoller()  # type: ignore[assignment]
        self.runner = HeldRunner()  # type: ignore[assignment]
        self.seen: list[Any] = []
        self.messages: list[Any] = []
        topic = self.topic(TOPIC, key_serializer="raw", value_serializer="raw")

        @self.agent(topic, name="keeps")
        async def keeps(stream: Any) -> None:
            async for event in stream.events() if acknowledging else stream.noack().events():
                self.seen.append(event.value)
                self.messages.append(event.message)


async def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (conditions of foreign code have no event)
            await asyncio.sleep(0.01)


async def settle() -> None:
    """Give everything that could still happen the time to happen."""
    await asyncio.sleep(0.2)


@pytest.fixture
async def start() -> AsyncIterator[Callable[[AppUnderTest], Any]]:
    """Starts apps and stops them at the end."""
    started: list[AppUnderTest] = []

    async def start(app: AppUnderTest) -> AppUnderTest:
        started.append(app)
        await app.start()
        return app

    yield start
    for app in started:
        await app.stop()


async def running(start: Callable[[AppUnderTest], Any], **options: Any) -> tuple[AppUnderTest, Any]:
    """A running app that holds partition 0, and its poller."""
    app = await start(AppUnderTest(**options))
    poller: Any = app.poller
    await eventually(lambda: poller.started_for is not None)
    await poller.started_for.assigned([Lease(0, 0)])
    return app, poller


def chunk_of(app: AppUnderTest, partition: int = 0) -> Chunk:
    """A chunk under the lease that the app's consumer holds."""
    lease: Lease = app.consumer._held[partition]  # type: ignore[attr-defined]
    return Chunk(lease, [object()], 7)  # type: ignore[list-item]


def test_the_transport_is_found_by_its_url_scheme_through_the_entry_point() -> None:
    """`memstream://` resolves to our transport, which makes our consumer, without anybody importing it."""
    app = faust.App("tests-scheme", broker="memstream://127.0.0.1:1", autodiscover=False)
    assert type(app.transport) is transport.Transport
    assert type(app.consumer) is transport.Consumer


def test_the_boot_strategy_of_the_app_class_is_the_one_that_is_used() -> None:
    """Faust takes the services from `App.BootStrategy.server()`: engine, consumer, agents, conductor and no more."""
    app = AppUnderTest()
    assert type(app.boot_strategy) is BootStrategy
    assert list(app.boot_strategy.server()) == [app.engine, app.consumer, app.agents, app.topics]


async def test_services_start_in_the_order_of_the_boot_strategy_and_stop_in_the_opposite_one(
    start: Callable[[AppUnderTest], Any],
) -> None:
    """The engine is open before anything polls, and polling has stopped before the engine closes."""
    app, poller = await running(start)
    assert app.runner.life == ["open", "run"]  # type: ignore[attr-defined]
    stopped_first: list[bool] = []
    close = app.runner.close

    async def closing() -> None:
        stopped_first.append(poller.stopped)
        await close()

    app.runner.close = closing  # type: ignore[method-assign]
    await app.stop()
    assert stopped_first == [True]
    assert app.runner.life == ["open", "run", "close"]  # type: ignore[attr-defined]


async def test_the_conductor_waits_until_tables_are_registered() -> None:
    """`TableManager._tables_registered` is the event behind `wait_until_tables_registered`, which we set ourselves."""
    manager = TableManager(faust.App("tests-tables", broker="memstream://127.0.0.1:1", autodiscover=False))
    assert isinstance(manager._tables_registered, asyncio.Event)
    waiting = asyncio.ensure_future(manager.wait_until_tables_registered())
    await settle()
    assert not waiting.done()
    manager._tables_registered.set()
    await asyncio.wait_for(waiting, 5)


async def test_the_conductor_subscribes_only_then(start: Callable[[AppUnderTest], Any]) -> None:
    """An app that does not set the event never subscribes; once it is set, the conductor does."""

    class Forgetful(AppUnderTest):
        async def on_first_start(self) -> None:
            """Do not set it."""

    app = await start(Forgetful())
    poller: Any = app.poller
    await settle()
    assert poller.started_for is None
    app.tables._tables_registered.set()
    await eventually(lambda: poller.started_for is app.consumer)


async def test_the_conductor_subscribes_with_the_names_of_the_agents_topics(
    start: Callable[[AppUnderTest], Any],
) -> None:
    """`Consumer.subscribe` is called once, with exactly the topic that the agent reads."""
    asked: list[list[str]] = []
    app = AppUnderTest()
    subscribe = app.consumer.subscribe

    async def subscribing(topics: Any) -> None:
        asked.append(list(topics))
        await subscribe(topics)

    app.consumer.subscribe = subscribing  # type: ignore[method-assign]
    await start(app)
    await eventually(lambda: bool(asked))
    await settle()
    assert asked == [[TOPIC]]


async def test_a_message_value_may_be_any_object(start: Callable[[AppUnderTest], Any]) -> None:
    """With the raw serializer a value passes the topic's decode untouched: the agent gets the very chunk."""
    app, poller = await running(start)
    chunk = chunk_of(app)
    poller.deliver(chunk)
    await eventually(lambda: bool(app.seen))
    assert app.seen == [chunk]
    assert app.seen[0] is chunk


async def test_chunks_reach_the_agent_in_the_order_they_came(start: Callable[[AppUnderTest], Any]) -> None:
    """One agent, one stream, one order, whatever the partitions."""
    app, poller = await running(start)
    await poller.started_for.assigned([Lease(1, 0)])
    chunks = [chunk_of(app, number % 2) for number in range(500)]
    for chunk in chunks:
        poller.deliver(chunk)
    await eventually(lambda: len(app.seen) == len(chunks))
    assert all(seen is sent for seen, sent in zip(app.seen, chunks, strict=True))


async def test_a_stream_skips_messages_of_another_generation_without_a_word(
    start: Callable[[AppUnderTest], Any],
) -> None:
    """Hence every message carries the app's own `consumer_generation_id`, which never changes."""
    app, poller = await running(start)
    consumer: Any = app.consumer
    message = consumer._to_message(TP(TOPIC, 0), chunk_of(app))
    assert message.generation_id == app.consumer_generation_id == 0
    message.generation_id = 1
    await consumer.callback(message)
    marker = chunk_of(app)
    poller.deliver(marker)
    await eventually(lambda: bool(app.seen))
    await settle()
    assert app.seen == [marker]


async def test_noack_acknowledges_nothing(start: Callable[[AppUnderTest], Any]) -> None:
    """After the agent has gone on to the next chunk, the one before is not acknowledged."""
    app, poller = await running(start)
    for _ in range(3):
        poller.deliver(chunk_of(app))
    await eventually(lambda: len(app.seen) == 3)
    await settle()
    assert [message.acked for message in app.messages] == [False] * 3


async def test_without_noack_a_stream_acknowledges_what_it_has_passed(start: Callable[[AppUnderTest], Any]) -> None:
    """The counter-check: plain iteration does acknowledge, so the test above can fail."""
    app, poller = await running(start, acknowledging=True)
    for _ in range(3):
        poller.deliver(chunk_of(app))
    await eventually(lambda: len(app.seen) == 3)
    await settle()
    assert [message.acked for message in app.messages][:2] == [True, True]


async def test_partitions_are_routed_by_the_conductors_assignment(start: Callable[[AppUnderTest], Any]) -> None:
    """A partition reaches the agent once `topics.on_partitions_assigned` has named it, and not before."""
    app, _ = await running(start)
    consumer: Any = app.consumer
    lease = Lease(3, 0)
    message = consumer._to_message(TP(TOPIC, 3), Chunk(lease, [], 0))
    with pytest.raises(KeyError):
        await consumer.callback(message)
    await app.topics.on_partitions_assigned({TP(TOPIC, 0), TP(TOPIC, 3)})
    await consumer.callback(message)
    await eventually(lambda: bool(app.seen))
    assert app.seen[0].lease is lease


async def test_a_chunk_of_a_lease_that_ended_never_reaches_the_agent(start: Callable[[AppUnderTest], Any]) -> None:
    """It is released instead: its owner will read it."""
    app, poller = await running(start)
    late = chunk_of(app)
    await poller.started_for.revoked([late.lease], lost=False)
    poller.deliver(late)
    await eventually(lambda: poller.released_bytes == late.size_bytes)
    await settle()
    assert app.seen == []


async def test_flow_is_open_after_the_subscription(start: Callable[[AppUnderTest], Any]) -> None:
    """Faust starts with its flow closed and agents see nothing until `flow_control.resume()`."""
    fresh = AppUnderTest()
    assert not fresh.flow_control.is_active()
    app, _ = await running(start)
    assert app.flow_control.is_active()
