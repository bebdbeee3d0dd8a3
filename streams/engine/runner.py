"""Which batch is where: the batches of one stage go through their steps in a pipeline, while partitions come and go.

```
decide   ─ one at a time, in log order: state is applied at once, so the next one builds on it
ask      ─ side by side
perform  ─ one at a time, in order
commit   ─ in order, all that are ready in one transaction: the next batch is decided while the last commits
```

A batch that fails in passing repeats its step. Anything else, and partitions that go while batches are open on them,
ends the pipeline (`_collapse`): what has begun to commit ends, everything behind it is forgotten, state that was built
on it is loaded again from the log, and the batch that failed is settled alone (`streams.engine.settling`). The records
are still in memory, so nothing is rewound.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import structlog

from schemas.codec import Codec
from streams.clock import Clock
from streams.engine.attempt import Attempt, Attempts
from streams.engine.batch_pace import BatchPace
from streams.engine.batch_size import BatchSize
from streams.engine.batcher import MicroBatcher, RawBatch
from streams.engine.catch_up import KafkaLogReader
from streams.engine.chunk import Chunk, Lease
from streams.engine.dead_letter_limit import DeadLetterLimit
from streams.engine.group_commit import GroupCommit
from streams.engine.ladder import Rung, classify
from streams.engine.ledger_positions import LedgerPositions
from streams.engine.open_batch import OpenBatch, Progress, result_of
from streams.engine.ownership import Ownership, must_be_of_the_log
from streams.engine.pauses import PauseWatch
from streams.engine.poller import Poller
from streams.engine.quarantine import Quarantine, SuspectedError
from streams.engine.repeating import Repeat
from streams.engine.settling import Settler
from streams.engine.stage import Stage
from streams.engine.steps import Observe, unobserved
from streams.engine.transactions import Transactions
from streams.errors import TransientError
from streams.settings import Settings

log = structlog.get_logger("memstream.engine")

_DUE_EVERY_S = 0.5
"""How often a stage is asked what the clock wants."""

_COMMIT_ASKED_EVERY_S = 0.05
"""How often a batch that must go is looked at while it commits."""

_QUEUED_FOR_COMMIT = 2
"""One commits, one is ready: with so many only full batches are taken, since small ones would only queue up behind."""


class Runner:
    """Runs one stage in one process.

    Args:
        stage: what to run.
        codec: decodes its input.
        poller: where records come from.
        transactions: where results go.
        settings: batching, retries, deadlines.
        clock: what time it is.
        jitter: randomness of the backoff.
        observe: told of each step of each batch.
        alone: held while an event that may kill the process is tried; one for all runners of a process.
    """

    def __init__(
        self,
        stage: Stage[Any],
        *,
        codec: Codec[Any],
        poller: Poller,
        transactions: Transactions,
        settings: Settings,
        clock: Clock,
        jitter: random.Random,
        observe: Observe = unobserved,
        alone: asyncio.Lock | None = None,
    ) -> None:
        self._stage = stage
        self._poller = poller
        self._transactions = transactions
        self._settings = settings
        self._clock = clock
        self.progress = Progress()
        self._repeat = Repeat(stage.spec.name, settings.retry, jitter=jitter, progress=self.progress)
        self._pauses = PauseWatch(settings.kafka.session_timeout, now_s=clock.monotonic_s())
        batch = settings.batch
        self._size = BatchSize(max_events=batch.max_events, latency_target=batch.latency_target)
        self._pace = BatchPace(batch.max_age, min_interval=stage.spec.beats * batch.min_interval)
        self._batcher = MicroBatcher(size=self._size, max_bytes=batch.max_bytes, pace=self._pace)
        self._attempts = Attempts(
            stage,
            codec=codec,
            transactions=transactions,
            group_metadata=lambda: poller.group_metadata,
            namespace=settings.kafka.namespace,
            generation=settings.worker.generation,
            clock=clock,
            pauses=self._pauses,
            observe=observe,
        )
        self._quarantine = Quarantine(
            topic=settings.kafka.namespace + stage.spec.reads.name,
            max_crashes=settings.retry.max_crashes,
            commit=self._attempts.mark,
            repeat=self._repeat,
            alone=alone or asyncio.Lock(),
        )
        self._ownership = Ownership(stage, repeat=self._repeat)
        reader = KafkaLogReader(settings.kafka, client_id="memstream.ledger", monotonic_s=clock.monotonic_s)
        self._ledger = LedgerPositions(stage.spec, generation=settings.worker.generation, reader=reader)
        self._open: deque[OpenBatch] = deque()
        self._again: deque[tuple[RawBatch, int]] = deque()
        self._failure: Exception | None = None
        self._collapsing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._group_commit = GroupCommit(
            self._attempts,
            self._open,
            ownership=self._ownership,
            letters=DeadLetterLimit(stage.spec.name, max_ratio=settings.retry.max_dead_letter_ratio),
            quarantine=self._quarantine,
            progress=self.progress,
        )

    @property
    def positions(self) -> dict[int, tuple[int, int]]:
        """Loaded partition to the first offset that is not settled, and to the one behind the newest fetched."""
        return self._ownership.positions

    # --- life ---

    async def open(self) -> None:
        """Connect the stage and take over the transactional id; call before the poller starts."""
        await self._repeat(self._stage.open)
        await self._repeat(self._transactions.start)

    async def close(self) -> None:
        """Let go of everything; call after the poller has stopped."""
        log.info("stage_stopped", stage=self._stage.spec.name, **asdict(self.progress))
        await self._transactions.stop()
        await self._stage.close()

    def feed(self, chunk: Chunk) -> None:
        """Take in a chunk; called by the stage's agent for each one."""
        if chunk.lease.closing or not chunk.lease.alive:
            self._poller.release(chunk.size_bytes)
            return
        self._batcher.add(chunk, now_s=self._clock.monotonic_s())
        self._wake.set()

    async def run(self) -> None:
        """Settle batches until cancelled.

        Raises:
            FencedError, RefusedError, BugError: the stage has stopped, its open batches are uncommitted.
        """
        next_due_s = self._clock.monotonic_s()
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                self._wake.clear()
                now_s = self._clock.monotonic_s()
                if now_s >= next_due_s:
                    await self._publish_due()
                    next_due_s = now_s + _DUE_EVERY_S
                wait_s = await self._go_on(now_s)
                if wait_s:
                    # Not wait_for: before Python 3.12 it can swallow a cancellation that comes together with the event.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(wait_s, max(0.0, next_due_s - now_s))):
                            await self._wake.wait()
        finally:
            ticking.cancel()
            await self._collapse()

    async def _go_on(self, now_s: float) -> float:
        """Do the next thing there is to do; returns how long there is nothing, unless something wakes us."""
        if self._collapsing.locked():
            return math.inf
        if self._failure is not None:
            await self._recover(self._failure)
            return 0.0
        if self._ownership.is_spoiled:
            await self._ownership.reload()
            return 0.0
        if len(self._open) >= self._settings.batch.max_open_batches or any(batch.is_careful for batch in self._open):
            return math.inf
        if self._again:
            await self._start(*self._again.popleft())
            return 0.0
        due_in_s = self._batcher.due_in_s(now_s=now_s)
        if due_in_s is None:
            return math.inf
        if due_in_s > 0.0:
            return due_in_s
        if not self._batcher.full and sum(batch.asked for batch in self._open) >= _QUEUED_FOR_COMMIT:
            return math.inf
        raw = self._batcher.take(now_s=now_s)
        self.progress.closed_by[raw.closed_by] = self.progress.closed_by.get(raw.closed_by, 0) + 1
        await self._start(raw, raw.size_bytes)
        return 0.0

    # --- ownership (streams.engine.poller.Owner) ---

    async def settled_before(self, partitions: list[int]) -> Mapping[int, int]:
        """Where partitions go on of which the group has no position: behind what the ledger calls settled."""
        return await self._ledger.behind(partitions)

    async def assigned(self, leases: list[Lease]) -> None:
        """Load the state of new partitions; retries while the parts it needs are away.

        Raises:
            RefusedError: there are more partitions than the log has had so far.
        """
        must_be_of_the_log(leases, count=self._settings.kafka.partitions)
        await self._quarantine.take(leases)
        await self._ownership.take(leases)
        log.info("partitions_assigned", stage=self._stage.spec.name, partitions=sorted(x.partition for x in leases))

    async def revoked(self, leases: list[Lease], *, lost: bool) -> None:
        """End what is open on these partitions, within the deadline, and forget them."""
        going = frozenset(leases)
        # 1. Nothing of them is taken any more.
        for lease in leases:
            lease.closing, lease.lost = True, lost
        self._poller.release(self._batcher.drop(going))
        # 2. Open batches may end within the deadline; one that has begun to commit always ends.
        ending = [batch.committed for batch in self._open if batch.raw.leases & going]
        if ending:
            deadline_s = 0.0 if lost else self._settings.worker.revoke_deadline.total_seconds()
            await asyncio.wait(ending, timeout=deadline_s)
        for lease in leases:
            lease.alive = False
        if any(batch.raw.leases & going for batch in self._open):
            await self._collapse()
        # 3. Nobody died of what was open.
        await self._quarantine.give_back(leases, lost=lost, within=self._settings.worker.revoke_deadline)
        # 4. Forget them.
        for lease in leases:
            self._ownership.give_back(lease)
        log.info("partitions_revoked", stage=self._stage.spec.name, partitions=[x.partition for x in leases], lost=lost)

    # --- the pipeline ---

    async def _start(self, raw: RawBatch, held_bytes: int) -> None:
        """Decide a batch and send it on its way; returns when the next one can be decided."""
        if (batch := self._opened(raw, held_bytes)) is None:
            return
        before = self._open[-2] if len(self._open) > 1 else None
        deciding = batch.work = asyncio.create_task(self._decide(batch))
        await asyncio.wait({deciding})
        if not deciding.cancelled():
            deciding.exception()  # looked at, should the batch be given up before `_carry` gets to it
            batch.work = asyncio.create_task(self._carry(batch, before, deciding))

    def _opened(self, raw: RawBatch, held_bytes: int) -> OpenBatch | None:
        """What is left of a batch that was taken, maybe some time ago; none when nothing is."""
        raw = self._ownership.unsettled(raw)
        if not raw.parts:
            self._poller.release(held_bytes)
            return None
        loop = asyncio.get_running_loop()
        batch = OpenBatch(raw, held_bytes, self._clock.monotonic_s(), loop.create_future(), loop.create_future())
        self._quarantine.open(raw)
        batch.is_careful = self._quarantine.is_careful(raw)
        self._open.append(batch)
        return batch

    async def _decide(self, batch: OpenBatch) -> Attempt:
        if self._quarantine.is_suspect(batch.raw):
            raise SuspectedError
        await self._repeat(partial(self._quarantine.begin, batch.raw))
        attempt = await self._repeat(
            partial(self._attempts.decide, batch.raw), partial(self._quarantine.withdraw, batch.raw)
        )
        assert attempt is not None
        if attempt.decision.state is not None:
            self._stage.apply(attempt.decision.state)
            batch.applied = True
        return attempt

    async def _carry(self, batch: OpenBatch, before: OpenBatch | None, deciding: "asyncio.Task[Attempt]") -> None:
        """Everything behind the decision, each step when its turn comes."""
        try:
            attempt = deciding.result()
            failed = partial(self._quarantine.withdraw, batch.raw)
            await self._repeat(partial(self._attempts.ask, attempt), failed)
            batch.asked = True
            if before is None or await result_of(before.performed):
                await self._repeat(partial(self._perform, batch, attempt), failed)
                batch.ready = attempt
                batch.performed.set_result(True)
                if (before is None or await result_of(before.committed)) and not batch.committed.done():
                    for committed in await self._repeat(partial(self._group_commit.ready, batch)):
                        self._close(committed)
        except Exception as error:  # noqa: BLE001  (the one place where every error of a batch arrives)
            # If the batch before this one has failed too, this one is decided again anyway.
            if (before is None or await result_of(before.committed)) and batch in self._open:
                self._failure = error
                self._wake.set()

    async def _tick(self) -> None:
        while True:
            self._pauses.tick(now_s=self._clock.monotonic_s())
            await asyncio.sleep(self._pauses.tick_every_s)

    async def _perform(self, batch: OpenBatch, attempt: Attempt) -> None:
        self._group_commit.must_be_open(batch)
        await self._attempts.perform(attempt)

    def _close(self, batch: OpenBatch) -> None:
        """A batch is over: it has committed, all of it."""
        if batch in self._open:  # else its partitions were lost meanwhile
            self._open.remove(batch)
            self._end(batch, committed=True)
            took_s = self._clock.monotonic_s() - batch.since_s
            self._size.batch_over(events=len(batch.raw), took_s=took_s)
            self._pace.batch_over(took_s=took_s)
            self._poller.release(batch.held_bytes)

    def _end(self, batch: OpenBatch, *, committed: bool) -> None:
        for future in (batch.performed, batch.committed):
            if not future.done():
                future.set_result(committed)
        self._wake.set()

    # --- when it does not go on like this ---

    async def _recover(self, error: Exception) -> None:
        """A batch has failed, and all before it have committed: settle it alone, then go on with those behind it."""
        self._failure = None
        if classify(error) is Rung.STOP:
            raise error
        await self._collapse()
        await self._ownership.reload()
        if self._again and (batch := self._opened(*self._again.popleft())) is not None:
            settler = Settler(
                self._stage,
                self._attempts,
                perform=partial(self._perform, batch),
                commit=partial(self._group_commit.one, batch),
                repeat=self._repeat,
                quarantine=self._quarantine,
            )
            batch.work = asyncio.create_task(settler.settle(batch.raw))
            await asyncio.wait({batch.work})
            if not batch.work.cancelled() and (batch.work.exception() is None or batch in self._open):
                batch.work.result()
                self._close(batch)

    async def _collapse(self) -> None:
        """End all open batches: what has begun to commit ends, everything else is given up and decided again later."""
        async with self._collapsing:
            self._failure = None
            for batch in reversed(list(self._open)):
                await self._give_up(batch)
            given_up = list(self._open)
            self._open.clear()
            for batch in given_up:
                self._end(batch, committed=False)
                if batch.applied:
                    self._ownership.spoil(batch.raw)
            self._again.extendleft((batch.raw, batch.held_bytes) for batch in reversed(given_up))
            self.progress.collapses += bool(given_up)
        self._wake.set()

    async def _give_up(self, batch: OpenBatch) -> None:
        """Cancel what is done for a batch, but no commit that has begun; if that one fails it is not tried again."""
        while batch.work is not None and not batch.work.done():
            if not batch.committing:
                batch.work.cancel()
            elif all(lease.lost for lease in batch.raw.leases):
                return  # the broker refuses it, or the next owner waits for it; and the broker may be away for long
            await asyncio.wait({batch.work}, timeout=_COMMIT_ASKED_EVERY_S)

    # --- time ---

    async def _publish_due(self) -> None:
        due = self._stage.due(at_end=self._ownership.at_end())
        if due:
            with suppress(TransientError):  # the stage asks for it again
                await self._transactions.publish(due)
