"""Verification of an installation: the log, partition by partition, and then its store and cache beside it.

Blocking; from an event loop, use `asyncio.to_thread`. Nothing is committed and no consumer group is joined.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from schemas.ids import UserKey
from schemas.memory import MemoryChange
from streams.caches.protocol import VersionCache
from streams.caches.redis_versions import create_version_cache
from streams.clients.hanging_transactions import HANGS_AFTER, find_hanging
from streams.clients.log_scan import LogScan
from streams.clients.verification import hanging, stored
from streams.clients.verification.books import Tally
from streams.clients.verification.findings import Fault, Findings, Kind
from streams.clients.verification.partition_log import PartitionLog
from streams.clients.verification.positions import Standing, check_position
from streams.clients.verification.report import Mended, Progress, Report, Scope, StageBooks
from streams.embedders.factory import create_embedder
from streams.engine.raw_record import headers_of
from streams.errors import TransientError
from streams.settings import Settings
from streams.stores.factory import create_store
from streams.stores.fold import FoldedUser
from streams.stores.mending import Mender, MendingPlan, stored_heads
from streams.stores.protocol import Store
from topology import graph, topics
from topology.graph import GRAPH, StageName, StageSpec
from topology.topics import TopicSpec, ledger_partitions

_READS_AT_ONCE = 16
_VERSIONS_AT_ONCE = 1000
_ALWAYS_READ = (topics.HEADS, topics.INDEXED, topics.CHANGES)
"""What the store and single users are judged by."""
_MENDING_ROUNDS = 3
"""Mended is looked at again: index may have been at work, and Weaviate cannot refuse what is older."""


class Verifier:
    """Verifies one generation. Use it as a context manager.

    Safe beside running workers: what a stage has not committed yet is pending and no fault, and what looks wrong in a
    store is compared with the changes that came meanwhile before it is called so. Memory holds one partition at a time,
    about 300 bytes for each of its memories.

    A partition with a hanging transaction is not judged: how its history goes on is undecided. All others are. One that
    hangs in the ledger holds up the books and the watermarks of candidates, of its partition and of all above it, since
    a batch writes all of its entries to its lowest partition; all else is judged.

    Not looked at: what the store's search index makes of a memory (its words and its vector).

    Args:
        settings: where everything is.
        progress: told about it.
        hangs_after: a transaction that stays open for longer hangs.
    """

    def __init__(self, settings: Settings, progress: Progress, *, hangs_after: timedelta = HANGS_AFTER) -> None:
        self._generation = settings.worker.generation
        self._scan = LogScan(settings.kafka, client_id="memstream.verify")
        self._store: Store = create_store(settings, dimensions=create_embedder().dimensions, creates=False)
        self._cache: VersionCache = create_version_cache(settings)
        self._progress = progress
        self._hangs_after = hangs_after
        self._runner = asyncio.Runner()
        self._report = Report()
        self._positions: dict[str, dict[int, int]] = {}
        self._found = 0
        self._kept = 0
        self._first = Findings()
        self._left = Findings()

    def __enter__(self) -> Self:
        self._scan.bounds(topics.CHANGES)  # where there is no log yet, that is what to say, not that there is no store
        self._runner.__enter__()
        self._runner.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of store and cache."""
        try:
            self._runner.run(self._close())
        finally:
            self._runner.__exit__(kind, error, traceback)

    def verify(self, scope: Scope, *, repair: bool = False) -> Report:
        """Look at everything in the scope, and mend the store if asked to.

        Raises:
            UsageError: the topics do not exist.
            TransientError: Kafka or the store is away.
        """
        self._report, self._first, self._left, self._kept = Report(), Findings(), Findings(), 0
        if repair:
            self._report.mended = Mended()
        read = topics.TOPICS if scope.everything else _ALWAYS_READ
        in_scope = scope.partitions(len(self._scan.bounds(topics.CHANGES)))
        held_up, without_books = self._held_up(read, in_scope)
        partitions = [partition for partition in in_scope if partition not in held_up]
        with_books = [p for p in partitions if p not in without_books] if scope.everything else []
        count_before = self._runner.run(self._store.count())
        bounds = {spec.name: self._scan.bounds(spec) for spec in read}
        if scope.everything:
            self._positions = {spec.name: self._committed(spec, partitions) for spec in GRAPH}
        self._progress.begin(_offsets_to_read(bounds, partitions, with_books))
        tallies: dict[str, Tally] = {spec.name: Tally() for spec in GRAPH}
        erasures = 0
        for partition in partitions:
            log = self._partition(partition, scope, with_books=partition in with_books, repair=repair)
            erasures += log.fold.erasures
            for name, tally in log.tallies.items():
                tallies[name] += tally
        if scope.everything:
            if not held_up:
                strangers = count_before - self._report.memories - erasures
                self._first.extend(_strangers(strangers))
                if repair and strangers > 0:  # they may be what the log knows and the store did not find
                    count = self._runner.run(self._store.count())
                    strangers = min(strangers, count - self._kept - erasures)
                self._left.extend(_strangers(strangers))
            self._report.books = [_books(spec.name, spec.reads.name, tallies[spec.name]) for spec in GRAPH]
        report = self._report
        report.partitions = len(partitions)
        report.findings, report.left = self._first.listed(), self._left.listed()
        report.sound = not report.left
        return report

    def _held_up(self, specs: Collection[TopicSpec], partitions: Collection[int]) -> tuple[set[int], set[int]]:
        """Report the transactions that hang, and tell which partitions they hold up, and the books of which."""
        self._progress.say("looking for transactions that do not end")
        found = find_hanging(self._scan, specs, standing_for=self._hangs_after, partitions=partitions)
        ledger = self._scan.name(topics.LEDGER)
        faults = list(hanging.check_hanging(found, ledger=ledger))
        self._first.extend(faults)
        self._left.extend(faults)
        in_ledger = {transaction.partition for transaction in found if transaction.topic == ledger}
        return (
            {transaction.partition for transaction in found if transaction.topic != ledger},
            {partition for partition in partitions if not in_ledger.isdisjoint(ledger_partitions(partition))},
        )

    def _partition(self, partition: int, scope: Scope, *, with_books: bool, repair: bool) -> PartitionLog:
        """Verify one partition; where the store was mended, look at it once more."""
        self._progress.say(f"partition {partition}: reading the log")
        log = self._read(partition, scope)
        if with_books:
            log.read_books()
            log.faults += self._misplaced(log, partition)
        suspects = self._suspects(log, partition)
        faults, plan = _judged(log, suspects)
        self._count(log)
        self._first.extend([*log.faults, *faults])
        for _ in range(_MENDING_ROUNDS if repair else 0):
            if not plan:
                break
            self._progress.say(f"partition {partition}: mending {len(plan.rows)} memories")
            self._runner.run(self._mend(partition, plan, end=log.kept[topics.CHANGES.name].stop))
            again = self._read(partition, scope)
            faults, plan = _judged(again, self._suspects(again, partition))
        self._left.extend([*log.faults, *faults])
        self._kept += self._found
        return log

    def _read(self, partition: int, scope: Scope) -> PartitionLog:
        # Index's position is taken again: the less is pending, the less has to be explained.
        positions = {name: taken.get(partition, 0) for name, taken in self._positions.items()}
        positions |= {StageName.INDEX: self._committed(graph.stage(StageName.INDEX), [partition]).get(partition, 0)}
        log = PartitionLog(self._scan, partition, positions=positions, wanted=scope.has, advance=self._progress.advance)
        log.read_changes()
        if (user := scope.user) is not None:
            log.fold.users.setdefault(user, FoldedUser())  # the store may have what the log has not
        return log

    def _misplaced(self, log: PartitionLog, partition: int) -> Iterator[Fault]:
        """Positions that are outside of their log, or gone; each is looked at again before it is called so."""
        for spec in GRAPH:
            position = self._positions[spec.name].get(partition)
            standing = Standing(
                stage=spec.name,
                topic=spec.reads.name,
                partition=partition,
                position=position,
                kept=log.kept[spec.reads.name],
                settled_to=log.settled_to[spec.name],
                newest_position=position,
            )
            if any(check_position(standing)):
                newest = self._committed(spec, [partition], stable=True).get(partition)
                yield from check_position(replace(standing, newest_position=newest))

    def _committed(self, spec: StageSpec, partitions: Collection[int], *, stable: bool = False) -> dict[int, int]:
        group_id = spec.group_id(namespace=self._scan.settings.namespace, generation=self._generation)
        return self._scan.committed(group_id, spec.reads, partitions, stable=stable)

    def _suspects(self, log: PartitionLog, partition: int) -> stored.Suspects:
        self._progress.say(f"partition {partition}: comparing {len(log.fold.users)} users with the store")
        suspects = self._runner.run(self._compare(log))
        if suspects:
            log.read_on()
        return suspects

    async def _compare(self, log: PartitionLog) -> stored.Suspects:
        fold, suspects = log.fold, stored.Suspects()
        users = list(fold.users)
        suspects.suspect_versions(log.announced, await self._versions(users))
        suspects.suspect_heads(fold, users, await stored_heads(self._store, users))
        gate = asyncio.Semaphore(_READS_AT_ONCE)
        found = 0

        async def compare(user: UserKey) -> None:
            nonlocal found
            async with gate:
                memories = await self._store.memories(user)
            found += len(memories)
            suspects.suspect_memories(fold, user, memories)

        for some in _portions(users, _VERSIONS_AT_ONCE):
            await asyncio.gather(*map(compare, some))
        self._found = found
        return suspects

    async def _versions(self, users: Collection[UserKey]) -> dict[UserKey, int]:
        versions: dict[UserKey, int] = {}
        try:
            for some in _portions(list(users), _VERSIONS_AT_ONCE):
                versions |= await self._cache.versions(some)
        except TransientError:
            self._report.versions = None
            return {}
        if self._report.versions is not None:
            self._report.versions += len(versions)
        return versions

    async def _mend(self, partition: int, plan: MendingPlan, *, end: int) -> None:
        mender = Mender(self._store, plan)
        await mender.begin()
        if plan.rows:
            for message in self._scan.read(topics.CHANGES, {partition: range(end)}):
                value: Any = message.value()
                event = topics.CHANGES.codec.decode(value)
                if isinstance(event, MemoryChange):
                    await mender.take(event, headers_of(message))
        await mender.finish()
        mended = self._report.mended
        assert mended is not None
        mended.memories_written += mender.written
        mended.memories_deleted += mender.deleted
        mended.heads_written += mender.heads

    def _count(self, log: PartitionLog) -> None:
        report = self._report
        report.users += len(log.fold.users)
        report.changes += log.fold.changes
        report.changes_pending += log.fold.pending_changes
        report.heads += log.heads
        report.memories += self._found

    async def _open(self) -> None:
        await self._cache.open()
        await self._store.open()

    async def _close(self) -> None:
        await self._store.close()
        await self._cache.close()


def _judged(log: PartitionLog, suspects: stored.Suspects) -> tuple[list[Fault], MendingPlan]:
    faults = [
        *stored.check_memories(log.fold, suspects),
        *stored.check_heads(log.fold, suspects),
        *stored.check_versions(log.announced, suspects),
    ]
    return faults, stored.plan_for(log.fold, suspects)


def _strangers(count: int) -> list[Fault]:
    """The store counted more memories, before all, than it then gave of the log's users."""
    if count <= 0:
        return []
    said = "if memories are missing, they may be these: --repair; else delete them in the store"
    return [Fault(Kind.STRANGERS, f"{count} memories of users whom the log does not know; {said}", count)]


def _offsets_to_read(
    bounds: Mapping[str, Mapping[int, range]], partitions: Collection[int], with_books: Collection[int]
) -> int:
    """How many offsets these partitions have; the ledger is read anew for each that is judged by it."""
    return sum(
        len(bounds[spec.name][place])
        for spec in topics.TOPICS
        for partition in (partitions if spec in _ALWAYS_READ else with_books)
        for place in (ledger_partitions(partition) if spec is topics.LEDGER else (partition,))
    )


def _books(stage: str, topic: str, tally: Tally) -> StageBooks:
    return StageBooks(
        stage=stage,
        topic=topic,
        records=tally.settled,
        applied=tally.applied,
        filtered=tally.filtered,
        dead_lettered=tally.dead_lettered,
        pending=tally.pending,
    )


def _portions(users: list[UserKey], size: int) -> Iterator[list[UserKey]]:
    for start in range(0, len(users), size):
        yield users[start : start + size]
