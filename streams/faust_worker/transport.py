"""The engine as a Faust transport (`memstream://`): agents get chunks of raw records, and nothing acknowledges them.

What Faust does: it starts and stops the services, subscribes, routes each chunk to the stage's agent and shows both.
What it does not: rebalances, progress and commits are the engine's (`streams.engine.poller`, `streams.engine.runner`):
Faust's own suspend its flow and drop its buffers on every rebalance, commit past work in flight (H4, H5, H8) and wait
without limit on shutdown (H7). So its rebalance callbacks are never called, its flow stays open, and a chunk that
comes too late is told by its lease.
"""

import asyncio
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, ClassVar

from faust.transport.base import Transport as FaustTransport
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP, ConsumerMessage
from mode import Service

from streams.engine.chunk import Chunk, Lease
from streams.engine.poller import Poller
from streams.engine.runner import Runner


class Consumer(FaustConsumer):
    """Hands the poller's chunks to the agent of its app.

    The app brings poller and runner as attributes (`streams.faust_worker.app.StageApp`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._chunks: asyncio.Queue[Chunk] = asyncio.Queue()
        self._held: dict[int, Lease] = {}
        self._topic_name = ""

    @property
    def _poller(self) -> Poller:
        poller: Poller = self.app.poller
        return poller

    @property
    def _runner(self) -> Runner:
        runner: Runner = self.app.runner
        return runner

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Start polling; Faust's conductor calls this once the agents stand."""
        (self._topic_name,) = topics
        self.app.flow_control.resume()
        ended = self._poller.start(self, self._chunks.put_nowait)
        ended.add_done_callback(self.app.on_poller_ended)

    async def on_stop(self) -> None:
        """Give the partitions back; returns when every open transaction has ended."""
        await self._poller.stop()

    @Service.task
    async def _hand_over(self) -> None:
        while not self.should_stop:
            chunk = await self._chunks.get()
            if chunk.lease.alive and not chunk.lease.closing:
                await self.callback(self._to_message(TP(self._topic_name, chunk.lease.partition), chunk))
            else:
                self._poller.release(chunk.size_bytes)

    def _to_message(self, tp: TP, record: Chunk) -> ConsumerMessage:
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=record.lease.next_offset,
            timestamp=0.0,
            timestamp_type=0,
            headers=[],
            key=None,
            value=record,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=record.size_bytes,
            tp=tp,
            # Streams skip a message of another generation without a word; ours never changes.
            generation_id=self.app.consumer_generation_id,
        )

    # --- streams.engine.poller.Owner ---

    async def settled_before(self, partitions: list[int]) -> Mapping[int, int]:
        """What the ledger says."""
        return await self._runner.settled_before(partitions)

    async def assigned(self, leases: list[Lease]) -> None:
        """Let the runner load state, then route the partitions to the agent."""
        await self._runner.assigned(leases)
        self._held.update({lease.partition: lease for lease in leases if lease.alive})
        await self._route()

    async def revoked(self, leases: list[Lease], *, lost: bool) -> None:
        """Let the runner end what is open, then stop routing."""
        for lease in leases:
            if self._held.get(lease.partition) is lease:
                del self._held[lease.partition]
        await self._runner.revoked(leases, lost=lost)
        await self._route()

    async def _route(self) -> None:
        await self.app.topics.on_partitions_assigned(self.assignment())

    def assignment(self) -> set[TP]:
        """The partitions of this process."""
        return {TP(self._topic_name, partition) for partition in self._held}

    # --- what Faust's consumer promises and the engine does instead ---

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002
        """Nothing: offsets travel in the engine's transactions."""
        return False

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:  # noqa: ARG002
        return False

    async def wait_empty(self) -> None:
        """Nothing: `on_stop` waits for the engine, within a deadline."""

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> MutableMapping[TP, list[Any]]:  # noqa: ARG002, ASYNC109
        return {}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Nothing: positions are set when partitions are assigned."""
        return {}

    async def _seek(self, partition: TP, offset: int) -> None:
        """Nothing: a batch that failed is still in memory and is decided again."""

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def position(self, tp: TP) -> int | None:
        """Behind the last record handed out."""
        lease = self._held.get(tp.partition)
        return lease.next_offset if lease else None

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Nothing: see `_seek`."""

    def highwater(self, tp: TP) -> int:
        """The end of the partition as last reached."""
        lease = self._held.get(tp.partition)
        return (lease.end_offset or lease.next_offset) if lease else 0

    def topic_partitions(self, topic: str) -> int | None:  # noqa: ARG002
        """Unknown here: `topology.provision` checks partition counts."""
        return None

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:  # noqa: ARG002
        """Only Faust's tables ask; there are none."""
        return {}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:  # noqa: ARG002
        """Only Faust's tables ask; there are none."""
        return {}

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `topology.provision` creates topics."""

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:  # noqa: ARG002
        """Only Faust's producer asks; it is never used."""
        return partition


class Transport(FaustTransport):
    """Registered as `memstream` in Faust's own plug-in point (`faust.transports`)."""

    Consumer: ClassVar[Any] = Consumer
    driver_version = "memstream"
    default_port = 9092
