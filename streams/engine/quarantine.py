"""Events that kill the process: how they are found, so that the rest goes on.

No error tells of them, so every process leaves a mark where it begins (`streams.engine.marks`):

1. The first batch of a lease marks its position before it is decided. Its commit removes the mark. An orderly end and
   an error of the outside world take it back: then nobody died of an event.
2. So a mark that is found when a partition is assigned counts processes that died here. After the first death batches
   are no longer decided while others are open, so that the next death tells more.
3. After `max_crashes` deaths at one position its first batch is suspected. Its events are tried one by one, each with a
   mark of its own, and one at a time in the whole process, lest one stage's events be suspected for another's.
4. An event that was alone at `max_crashes` deaths is given up: it is dead-lettered without being tried again, or, where
   the stage must not skip anything, the stage stops and names it.

Not promised: that no innocent event is ever given up. One that is alone each time something else kills the process
would be; it is in the dead-letter topic, whole, and can be sent back.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial

from confluent_kafka import TopicPartition

from schemas.outcome import Reason
from streams.engine.batcher import Part, RawBatch
from streams.engine.chunk import Lease
from streams.engine.marks import NOTHING, Mark
from streams.engine.raw_record import offset_of
from streams.errors import PoisonError, TransientError


class SuspectedError(Exception):
    """A batch may hold an event that kills the process: it is settled alone, event by event."""


class Quarantine:
    """Keeps the marks of one stage's leases.

    Args:
        topic: the stage's input, as Kafka names it.
        max_crashes: see above.
        commit: commits positions with their metadata, without any output.
        repeat: repeats a call for as long as it fails in passing.
        alone: held while an event is tried alone; one lock for the whole process.
    """

    def __init__(
        self,
        *,
        topic: str,
        max_crashes: int,
        commit: Callable[[list[TopicPartition]], Awaitable[None]],
        repeat: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
        alone: asyncio.Lock,
    ) -> None:
        self._topic = topic
        self._max_crashes = max_crashes
        self._commit_places = commit
        self._repeat = repeat
        self.alone = alone
        self._committing: set[asyncio.Future[None]] = set()
        self._left: dict[int, tuple[int, Mark]] = {}

    async def take(self, leases: Iterable[Lease]) -> None:
        """New leases: where a mark still stands that this very process has left there, nobody has died of it."""
        regained = []
        for lease in leases:
            offset, before = self._left.pop(lease.partition, (-1, NOTHING))
            if offset >= lease.start_offset and lease.mark == before.begun(offset):
                lease.mark, lease.marked_at = before, offset
                regained.append(lease)
        await self._repeat(partial(self._leave, regained))

    async def give_back(self, leases: Sequence[Lease], *, lost: bool, within: timedelta) -> None:
        """Leases that go, with nothing open under them: take their marks back; returns when no commit is open."""
        await self._commits_have_ended(lost=lost)
        with suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await self._repeat(partial(self._leave, leases))
        await self._commits_have_ended(lost=lost)

    def open(self, raw: RawBatch) -> None:
        """These records come next; called in log order, before anything is done with them.

        Only the first record that is not settled may be marked: a mark moves the position, past those before it too.
        """
        for part in raw.parts:
            if part.lease.first_offset is None:
                part.lease.first_offset = part.first_offset

    def is_careful(self, raw: RawBatch) -> bool:
        """Whether processes have died near these records, so that nothing else should be open beside them."""
        return any(not part.lease.proven and part.lease.mark != NOTHING for part in raw.parts)

    def is_suspect(self, raw: RawBatch) -> bool:
        """Whether these records must be tried one by one."""
        return any(self._suspects_until(part) for part in raw.parts)

    async def begin(self, raw: RawBatch) -> None:
        """Mark the positions from which records are worked on for the first time under their lease."""
        begun = [
            (part.lease, part.first_offset)
            for part in raw.parts
            if not part.lease.proven
            and part.lease.alive
            and part.lease.marked_at is None
            and part.lease.first_offset == part.first_offset
        ]
        if not begun:
            return
        for lease, offset in begun:
            lease.marked_at = offset  # before it stands there: whoever is cancelled here cannot know whether it does
        try:
            await self._commit([self._place(lease, offset, lease.mark.begun(offset)) for lease, offset in begun])
        except TransientError:
            for lease, _ in begun:
                lease.marked_at = None
            raise

    async def withdraw(self, raw: RawBatch) -> None:
        """Take back the marks that were put for these records: their work has met an error of the outside world."""
        # A mark that an earlier batch of the lease has put is not theirs: that one may have committed just now.
        await self._leave(part.lease for part in raw.parts if part.lease.marked_at == part.first_offset)

    def settled(self, raw: RawBatch) -> None:
        """A transaction has committed these records; `mark_behind` went with it."""
        for part in raw.parts:
            part.lease.first_offset = part.lease.marked_at = None
            part.lease.mark = mark_behind(part)
            part.lease.proven = part.lease.mark == NOTHING

    def split(self, raw: RawBatch) -> tuple[list[RawBatch], RawBatch]:
        """The suspects, one by one in log order within each partition, and the rest, which comes behind them."""
        alone: list[RawBatch] = []
        rest: list[Part] = []
        for part in raw.parts:
            until = self._suspects_until(part)
            if until and part.lease.mark.until < until:
                part.lease.mark = Mark(until=until)
            count = bisect_left(part.records, until, key=offset_of)
            alone += [RawBatch([Part(part.lease, [record])], raw.closed_by) for record in part.records[:count]]
            if count < len(part.records):
                rest.append(Part(part.lease, part.records[count:]))
        return alone, RawBatch(rest, raw.closed_by)

    def verdict(self, suspect: RawBatch) -> "CrashError | None":
        """Whether an event that stands alone is given up without being tried again."""
        (part,) = suspect.parts
        deaths = part.lease.mark.alone
        return CrashError(deaths, is_hopeless=deaths >= 2 * self._max_crashes) if deaths >= self._max_crashes else None

    def _suspects_until(self, part: Part) -> int:
        """Records below this offset are suspects; 0 when none is."""
        if part.lease.proven:
            return 0
        if part.first_offset < part.lease.mark.until:
            return part.lease.mark.until
        return part.last_offset + 1 if part.lease.mark.crashes >= self._max_crashes else 0

    async def _leave(self, leases: Iterable[Lease]) -> None:
        marked = [(lease, lease.marked_at) for lease in leases if lease.marked_at is not None]
        self._left |= {lease.partition: (offset, lease.mark) for lease, offset in marked}
        if marked := [(lease, offset) for lease, offset in marked if not lease.lost]:
            await self._commit([self._place(lease, offset, lease.mark) for lease, offset in marked])
            for lease, _ in marked:
                lease.marked_at = None
                self._left.pop(lease.partition, None)

    async def _commit(self, places: list[TopicPartition]) -> None:
        """Shielded, like every commit: until it has ended, its partitions do not go."""
        committing = asyncio.ensure_future(self._commit_places(places))
        self._committing.add(committing)
        committing.add_done_callback(self._committed)
        await asyncio.shield(committing)

    def _committed(self, committing: "asyncio.Future[None]") -> None:
        self._committing.discard(committing)
        if not committing.cancelled():
            committing.exception()  # looked at, should nobody wait for it any more

    async def _commits_have_ended(self, *, lost: bool) -> None:
        if self._committing and not lost:
            await asyncio.wait(self._committing)

    def _place(self, lease: Lease, offset: int, mark: Mark) -> TopicPartition:
        return TopicPartition(self._topic, lease.partition, offset, mark.to_text())


class CrashError(PoisonError):
    """The process died every time it handled this event, and this event alone.

    Attributes:
        is_hopeless: it died even when the stage was asked to do without what may have killed it.
    """

    def __init__(self, deaths: int, *, is_hopeless: bool) -> None:
        super().__init__(f"the process died {deaths} times while it handled this event alone", reason=Reason.CRASH)
        self.is_hopeless = is_hopeless


def mark_behind(part: Part) -> Mark:
    """What is known of the records behind these, once these have committed."""
    next_offset = part.last_offset + 1
    until = part.lease.mark.until
    return Mark(until=until) if next_offset < until else NOTHING
