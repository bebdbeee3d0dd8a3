"""Which partitions are ours, how far each has committed, and when a stage's state of them is worth nothing any more."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from streams.engine.batcher import RawBatch
from streams.engine.chunk import Lease
from streams.engine.stage import Stage
from streams.errors import RefusedError


def must_be_of_the_log(leases: Sequence[Lease], *, count: int) -> None:
    """Look whether partitions were added to a topic under a running worker; at its start it looks by itself.

    Raises:
        RefusedError: some were.
    """
    if added := sorted(lease.partition for lease in leases if lease.partition >= count):
        raise RefusedError(
            f"partitions {added} were added, and kafka.partitions is {count}: the count is fixed for the life of the"
            " log, since with another one users move between partitions, and their order is lost. Stop the publishers,"
            " and go on in another namespace"
        )


class Ownership:
    """The leases of one stage, with the state that the stage keeps for each.

    Args:
        stage: loads and unloads state.
        repeat: repeats a call for as long as it fails in passing.
    """

    def __init__(
        self, stage: Stage[Any], *, repeat: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
    ) -> None:
        self._stage = stage
        self._repeat = repeat
        self._leases: dict[int, Lease] = {}
        self._committed_offsets: dict[int, int] = {}
        self._spoiled: set[int] = set()
        self._loading = asyncio.Lock()

    async def take(self, leases: list[Lease]) -> None:
        """Load the state of new partitions; it retries while what that needs is away."""
        async with self._loading:
            for lease in leases:
                await self._load(lease, position=lease.start_offset)

    def give_back(self, lease: Lease) -> None:
        """Forget a partition and its state."""
        self._leases.pop(lease.partition, None)
        self._committed_offsets.pop(lease.partition, None)
        self._spoiled.discard(lease.partition)
        self._stage.unload(lease.partition)

    def unsettled(self, raw: RawBatch) -> RawBatch:
        """What of these records is still ours and not yet committed."""
        return raw.alive().behind(self._committed_offsets)

    def settled(self, raw: RawBatch) -> None:
        """These records have committed."""
        for part in raw.parts:
            if self._leases.get(part.lease.partition) is part.lease:
                self._committed_offsets[part.lease.partition] = part.last_offset

    @property
    def positions(self) -> dict[int, tuple[int, int]]:
        """Loaded partition to the first offset that is not settled, and to the one behind the newest fetched."""
        return {p: (self._position(lease), lease.next_offset) for p, lease in self._leases.items()}

    def at_end(self) -> frozenset[int]:
        """Partitions of which everything has been consumed and committed."""
        return frozenset(
            partition
            for partition, lease in self._leases.items()
            if lease.end_offset is not None and self._position(lease) >= lease.next_offset
        )

    def spoil(self, raw: RawBatch) -> None:
        """State was built on these records, and they have not committed."""
        self._spoiled.update(raw.last_offsets)

    @property
    def is_spoiled(self) -> bool:
        """Whether state must be loaded again before anything is decided."""
        return bool(self._spoiled)

    async def reload(self) -> None:
        """Load state again that was built on what never committed."""
        while self._spoiled:
            partition = self._spoiled.pop()
            lease = self._leases.get(partition)
            if lease is not None and lease.alive:
                self._stage.unload(partition)
                await self._load(lease, position=self._position(lease))

    def _position(self, lease: Lease) -> int:
        return self._committed_offsets.get(lease.partition, lease.start_offset - 1) + 1

    async def _load(self, lease: Lease, *, position: int) -> None:
        async def load() -> None:
            if lease.alive:
                await self._stage.load(lease.partition, position=position)

        await self._repeat(load)
        if lease.alive:
            self._leases[lease.partition] = lease
        else:
            self._stage.unload(lease.partition)
