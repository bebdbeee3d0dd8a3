"""The poller on a real Kafka: bounded by bytes, in order; partitions change hands when their batch has ended.

Every behaviour is held under both group protocols. More than 400 lines because the poller's are (it alone owns the
consumer), and each of its behaviours needs a broker.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.conversation import Turn
from streams.engine import group_configs, kafka
from streams.engine.chunk import Chunk, Lease
from streams.engine.poller import Poller
from streams.errors import FencedError, RefusedError, TransientError
from streams.settings import KafkaSettings, Settings
from topology.topics import CONVERSATION_EVENTS, HEADS

pytestmark = pytest.mark.stack


class Holder:
    """An owner that keeps what it gets; it gives partitions back when the test lets it."""

    def __init__(self) -> None:
        self.leases: dict[int, Lease] = {}
        self.chunks: list[Chunk] = []
        self.asked_back = asyncio.Event()
        self.may_give_back = asyncio.Event()
        self.may_give_back.set()
        self.lost: list[bool] = []
        self.settled: dict[int, int] = {}
        self.refuses: list[Exception] = []

    async def settled_before(self, partitions: list[int]) -> dict[int, int]:
        """Say what the test says, once it refuses no more."""
        if self.refuses:
            raise self.refuses.pop()
        return {partition: self.settled[partition] for partition in partitions if partition in self.settled}

    async def assigned(self, leases: list[Lease]) -> None:
        """Keep them."""
        self.leases.update({lease.partition: lease for lease in leases})

    async def revoked(self, leases: list[Lease], *, lost: bool) -> None:
        """Give them back once allowed."""
        if leases:
            self.lost.append(lost)
            self.asked_back.set()
            await self.may_give_back.wait()
        for lease in leases:
            lease.closing, lease.alive = True, False
            self.leases.pop(lease.partition, None)

    def offsets(self, partition: int) -> list[int]:
        """Offsets of a partition as they came."""
        return [m.offset() or 0 for c in self.chunks if c.lease.partition == partition for m in c.records]

    def count(self) -> int:
        """Records that came."""
        return sum(len(chunk.records) for chunk in self.chunks)


@pytest.fixture
async def poll(each_protocol: Settings) -> AsyncIterator[Callable[..., Any]]:
    """Starts pollers of one group and stops them at the end."""
    started: list[tuple[Poller, Holder]] = []

    def start(
        instance: str = "first", *, max_in_flight_bytes: int = 1 << 24, **more: Any
    ) -> tuple[Poller, Holder, Any]:
        namespace = each_protocol.kafka.namespace
        group_configs.apply(each_protocol.kafka, [f"{namespace}group"])
        config = kafka.stage_consumer(
            each_protocol.kafka, client_id=instance, group_id=f"{namespace}group", instance_id=instance
        )
        poller = Poller(
            config,
            topic=namespace + CONVERSATION_EVENTS.name,
            max_in_flight_bytes=max_in_flight_bytes,
            revoke_deadline=timedelta(seconds=20),
            **{"monotonic_s": time.monotonic} | more,
        )
        holder = Holder()
        started.append((poller, holder))
        return poller, holder, poller.start(holder, holder.chunks.append)

    yield start
    for poller, holder in started:
        holder.may_give_back.set()
        await poller.stop()


async def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (conditions of another thread have no event)
            await asyncio.sleep(0.02)


async def test_every_record_is_delivered_once_and_in_order(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """From the beginning, under one lease per partition, whether it was there before or comes later."""
    publish([f"turn {n}" for n in range(500)])
    _, holder, _ = poll()
    await eventually(lambda: holder.count() == 500)
    publish([f"turn {n}" for n in range(500)])
    await eventually(lambda: holder.count() == 1000)
    assert sorted(holder.leases) == [0, 1, 2, 3]
    for partition in range(4):
        offsets = holder.offsets(partition)
        assert offsets == list(range(len(offsets)))


class Strayed(Consumer):
    """A client that, once it is told to, loses its partitions and never finds back into its group.

    Args:
        config: of the client.
        error: what it says then, again and again.
    """

    def __init__(self, config: dict[str, Any], error: KafkaError | None = None) -> None:
        super().__init__(config)
        self._error = error
        self.strays = False
        self._on_lost: Any = None

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self._on_lost = callbacks["on_lost"]
        super().subscribe(topics, **callbacks)

    def poll(self, timeout: float = -1) -> Any:
        if not self.strays:
            return super().poll(timeout)
        if self._on_lost is not None:
            self._on_lost(self, self.assignment())
            self._on_lost = None
        time.sleep(timeout)
        return None if self._error is None else Message(error=self._error)


async def test_a_client_that_does_not_find_back_into_its_group_is_renewed(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """After a minute without any assignment another client takes its place, and goes on where the group stands."""
    made: list[Strayed] = []
    late_s = 0.0

    def make(config: dict[str, Any]) -> Strayed:
        made.append(Strayed(config))
        return made[-1]

    publish([f"turn {n}" for n in range(100)])
    _, holder, ended = poll(make_consumer=make, monotonic_s=lambda: time.monotonic() + late_s)
    await eventually(lambda: holder.count() == 100)
    first = dict(holder.leases)
    made[0].strays = True
    await eventually(lambda: not holder.leases)
    await asyncio.sleep(1)
    assert len(made) == 1, "it was given no time"
    late_s = 61.0
    await eventually(lambda: sorted(holder.leases) == [0, 1, 2, 3], within_s=30)
    await eventually(lambda: holder.count() == 200)  # nothing was committed: all of it comes again
    assert len(made) == 2
    assert not any(holder.leases[p] is first[p] for p in first)
    assert not ended.done()


async def test_a_client_that_is_fenced_while_it_finds_back_is_renewed_at_once(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """It has no partitions that another process could have taken: it was its own older request to join."""
    made: list[Strayed] = []
    fenced = KafkaError(KafkaError._FATAL, "Static consumer fenced by other consumer with same group.instance.id")

    def make(config: dict[str, Any]) -> Strayed:
        made.append(Strayed(config, fenced))
        return made[-1]

    publish([f"turn {n}" for n in range(100)])
    _, holder, ended = poll(make_consumer=make)
    await eventually(lambda: holder.count() == 100)
    made[0].strays = True
    await eventually(lambda: holder.count() == 200, within_s=30)
    assert len(made) == 2
    assert not ended.done()


async def test_a_client_that_is_fenced_just_after_it_found_back_is_renewed_and_later_on_it_ends(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """Its own older request may come last even then; one that has had partitions for long meets another process."""
    made: list[Strayed] = []
    late_s = 0.0
    fenced = KafkaError(KafkaError._FATAL, "Static consumer fenced by other consumer with same group.instance.id")

    def make(config: dict[str, Any]) -> Strayed:
        made.append(Strayed(config, fenced))
        return made[-1]

    def fence(client: Strayed) -> None:
        client._on_lost = None  # it is not told of any loss
        client.strays = True

    publish([f"turn {n}" for n in range(100)])
    _, holder, ended = poll(make_consumer=make, monotonic_s=lambda: time.monotonic() + late_s)
    await eventually(lambda: holder.count() == 100)
    made[0].strays = True
    await eventually(lambda: holder.count() == 200, within_s=30)
    second = dict(holder.leases)
    fence(made[1])
    await eventually(lambda: holder.count() == 300, within_s=30)
    assert len(made) == 3
    assert not any(lease.alive for lease in second.values())
    assert not ended.done()
    late_s = 11.0
    fence(made[2])
    await eventually(ended.done)
    assert isinstance(ended.exception(), FencedError)


async def test_backpressure_pauses_and_resumes_without_losing_a_record(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """Above the limit nothing more comes, and polling goes on; released bytes let the rest come, in order."""
    publish(["x" * 2000 + str(n) for n in range(3000)])
    limit_bytes = 500_000
    poller, holder, ended = poll(max_in_flight_bytes=limit_bytes)
    await eventually(lambda: poller.in_flight_bytes >= limit_bytes)
    await asyncio.sleep(1)
    held = holder.count()
    assert held < 3000, "everything came at once: the limit was never felt"
    await asyncio.sleep(1)
    assert holder.count() == held
    assert not ended.done()

    released = 0
    while holder.count() < 3000:
        while released < len(holder.chunks):
            poller.release(holder.chunks[released].size_bytes)
            released += 1
        await asyncio.sleep(0.02)
    assert sum(len(holder.offsets(p)) for p in range(4)) == 3000
    for partition in range(4):
        offsets = holder.offsets(partition)
        assert offsets == list(range(len(offsets)))


async def test_a_partition_changes_hands_only_when_its_owner_has_ended_its_batch(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """While the first owner still has an open batch, the second gets nothing; partitions that stay go on meanwhile."""
    publish([f"turn {n}" for n in range(100)])
    _, first, _ = poll("first")
    await eventually(lambda: first.count() == 100)
    first.may_give_back.clear()
    _, second, _ = poll("second")
    await asyncio.wait_for(first.asked_back.wait(), 20)
    await asyncio.sleep(2)
    assert not second.leases
    first.may_give_back.set()
    await eventually(lambda: len(second.leases) == 2)
    assert len(first.leases) == 2
    assert not set(first.leases) & set(second.leases)
    assert first.lost == [False]


async def test_a_poller_that_stops_gives_everything_back_first(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """`stop` returns only when the owner has ended what is open."""
    publish(["a"])
    poller, holder, ended = poll()
    await eventually(lambda: holder.count() == 1)
    holder.may_give_back.clear()
    stopping = asyncio.create_task(poller.stop())
    await asyncio.wait_for(holder.asked_back.wait(), 10)
    await asyncio.sleep(0.3)
    assert not stopping.done()
    holder.may_give_back.set()
    await asyncio.wait_for(stopping, 10)
    assert not holder.leases
    await asyncio.wait_for(ended, 5)


async def test_the_end_of_every_partition_becomes_known(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """Also where the end came in one fetch with the last records: extract may only speak for the clock at the end."""
    _, holder, _ = poll()
    for round_number in range(1, 11):
        publish([f"turn {n}" for n in range(100)])
        await eventually(lambda expected=100 * round_number: holder.count() == expected)
        assert len(holder.leases) == 4
        await eventually(lambda: all(lease.end_offset == lease.next_offset for lease in holder.leases.values()))


@pytest.mark.parametrize(
    ("position", "why"),
    [
        pytest.param(2, "is 2, and the log is from 5 to 10: up to 3 records were deleted", id="deleted ahead of it"),
        pytest.param(99, "is 99, and the log is from 5 to 10: the topic was deleted and", id="a topic made anew"),
    ],
)
async def test_a_position_that_the_log_does_not_have_ends_polling_with_a_refusal(
    light_settings: Settings, poll: Callable[..., Any], position: int, why: str
) -> None:
    """It is never jumped over: the error says where the stage stands, what the log has, and which of two it is."""
    servers, namespace = light_settings.kafka.bootstrap_servers, light_settings.kafka.namespace
    place = TopicPartition(namespace + CONVERSATION_EVENTS.name, 2, 5)
    producer = Producer({"bootstrap.servers": servers})
    for _ in range(10):
        producer.produce(place.topic, b"{}", partition=place.partition)
    assert producer.flush(30) == 0
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_records([place])[place].result(30)
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"{namespace}group"})
    consumer.commit(offsets=[TopicPartition(place.topic, place.partition, position)], asynchronous=False)
    consumer.close()
    _, holder, ended = poll()
    with pytest.raises(RefusedError) as refused:
        await asyncio.wait_for(ended, 20)
    assert f"{namespace}group stops: its position in {place.topic} partition 2 {why}" in str(refused.value)
    assert not holder.chunks


async def test_partitions_without_a_position_begin_where_their_owner_says(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """The owner is asked until it knows; those that it knows nothing about begin at the beginning."""
    publish([f"turn {n}" for n in range(100)])
    _, holder, _ = poll()
    holder.refuses = [TransientError("the ledger is away"), TransientError("and still is")]
    holder.settled = {1: 3, 2: 5}
    await eventually(lambda: holder.count() == 92)
    assert not holder.refuses
    assert [holder.offsets(partition)[0] for partition in range(4)] == [0, 3, 5, 0]
    assert [holder.leases[partition].start_offset for partition in range(4)] == [0, 3, 5, 0]


async def test_a_poller_stops_while_its_owner_looks_for_the_position(
    poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """Reading a long ledger holds up nobody who ends a worker."""
    publish(["a"])
    looking, never = asyncio.Event(), asyncio.Event()

    async def look(_: list[int]) -> dict[int, int]:
        looking.set()
        await never.wait()
        return {}

    poller, holder, _ = poll()
    holder.settled_before = look
    await asyncio.wait_for(looking.wait(), 20)
    await asyncio.wait_for(poller.stop(), 10)
    assert not holder.chunks


async def test_metadata_stays_fresh_while_a_new_partition_waits_for_its_predecessors_transaction(
    each_protocol: Settings, poll: Callable[..., Any], publish: Callable[..., list[Turn]]
) -> None:
    """Under the new protocol the epoch moves on meanwhile; commits on partitions that stay must not wait with it."""
    publish(["a"])
    settings, topic = each_protocol.kafka, each_protocol.kafka.namespace + CONVERSATION_EVENTS.name
    pollers = [poll("first"), poll("second")]
    with leaving_member(settings, "third", topic) as predecessor, leaving_member(settings, "fourth") as other:
        holders = [holder for _, holder, _ in pollers]
        while sum(len(h.leases) for h in holders) + len(predecessor.assignment()) != 4 or not all(
            [predecessor.assignment(), *(h.leases for h in holders)]
        ):
            await asyncio.to_thread(predecessor.poll, 0.05)
        # 1. A member leaves while a transaction with the position of one of its partitions is open.
        (place, *_) = predecessor.assignment()
        open_transaction = transactional(settings, "open")
        open_transaction.begin_transaction()
        metadata = predecessor.consumer_group_metadata()
        open_transaction.send_offsets_to_transaction([TopicPartition(topic, place.partition, 0)], metadata, 10)
        kept = [min(holder.leases) for holder in holders]
        predecessor.close()
        await asyncio.sleep(5)  # two heartbeats: whoever gets the partition sits in its callback by now
        # 2. The group changes once more, but nothing of these pollers.
        other.subscribe([settings.namespace + HEADS.name])
        until_s = time.monotonic() + 5
        while time.monotonic() < until_s:
            await asyncio.to_thread(other.poll, 0.1)
        # 3. Both still commit on what they have.
        for (poller, holder, _), partition in zip(pollers, kept, strict=True):
            assert partition in holder.leases
            committing = transactional(settings, f"committing-{partition}")
            await eventually(lambda c=committing, p=poller, n=partition: is_committed(c, p, topic, n), 5)
        assert not any(place.partition in holder.leases for holder in holders), "nobody waited: this proves nothing"
        open_transaction.abort_transaction(10)
        await eventually(lambda: any(place.partition in holder.leases for holder in holders))


@contextmanager
def leaving_member(settings: KafkaSettings, name: str, *topics: str) -> Iterator[Consumer]:
    """A bare member of the pollers' group that leaves for good when it closes, under either protocol."""
    config = kafka.stage_consumer(settings, client_id=name, group_id=f"{settings.namespace}group", instance_id=name)
    config.pop("group.instance.id", None)
    consumer = Consumer(config)
    if topics:
        consumer.subscribe(list(topics))
    try:
        yield consumer
    finally:
        consumer.close()


def transactional(settings: KafkaSettings, name: str) -> Producer:
    """A producer whose transactions may stay open for longer than the test takes."""
    producer = Producer(
        kafka.transactional_producer(settings, client_id=name, transactional_id=settings.namespace + name)
        | {"transaction.timeout.ms": 60_000}
    )
    producer.init_transactions(20)
    return producer


def is_committed(producer: Producer, poller: Poller, topic: str, partition: int) -> bool:
    """Whether a commit under the poller's metadata is accepted."""
    producer.begin_transaction()
    try:
        producer.send_offsets_to_transaction([TopicPartition(topic, partition, 0)], poller.group_metadata, 10)
    except KafkaException as error:
        producer.abort_transaction(10)
        if error.args[0].code() != KafkaError.ILLEGAL_GENERATION:
            raise
        return False
    producer.commit_transaction(10)
    return True
