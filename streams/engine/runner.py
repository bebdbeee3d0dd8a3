"""What happens to one micro-batch, step by step, and who owns which partition meanwhile.

1. Take a batch; drop records whose lease has ended.
2. Decode; what is no event becomes a dead letter.
3. Let the stage decide.
4. Publish copies and markers, acknowledged.
5. Perform the outside effect.
6. Commit: outputs, dead letters, ledger entries, watermarks and offsets in one transaction.
7. Make the stage's new state visible, release the bytes.

A failure in 3 to 6 goes through `streams.engine.ladder`. Nothing but step 6 acknowledges anything.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import structlog

from schemas.codec import Codec
from schemas.outcome import Reason
from streams.clock import Clock
from streams.engine.batcher import MicroBatcher, RawBatch, record_bytes
from streams.engine.chunk import Chunk, Lease
from streams.engine.decoding import decode_batch
from streams.engine.ladder import Backoff, Rung, classify
from streams.engine.ledger import Failed, dead_letter_outputs, ledger_outputs
from streams.engine.poller import Poller
from streams.engine.stage import Decision, MicroBatch, Output, Stage
from streams.engine.transactions import Transactions, end_offsets
from streams.errors import PoisonError, RefusedError, TransientError
from streams.settings import Settings

log = structlog.get_logger("memstream.engine")

_DUE_EVERY_S = 0.5
"""How often a stage is asked what the clock wants."""

_COMMIT_ASKED_EVERY_S = 0.05
"""How often a batch that must go is looked at while it commits."""


@dataclass
class Progress:
    """What a runner has done so far; for status and tests.

    Attributes:
        batches: committed.
        records: settled by them.
        retries: tries that failed and were repeated.
        dead_letters: written.
    """

    batches: int = 0
    records: int = 0
    retries: int = 0
    dead_letters: int = 0
    closed_by: dict[str, int] = field(default_factory=dict)


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
    ) -> None:
        self._stage = stage
        self._codec = codec
        self._poller = poller
        self._transactions = transactions
        self._settings = settings
        self._clock = clock
        self._jitter = jitter
        batch = settings.batch
        self._batcher = MicroBatcher(max_events=batch.max_events, max_bytes=batch.max_bytes, max_age=batch.max_age)
        self._leases: dict[int, Lease] = {}
        self._committed_offsets: dict[int, int] = {}
        self._arrived = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._working_leases: frozenset[Lease] = frozenset()
        self._committing = False
        self._loading = asyncio.Lock()
        self.progress = Progress()

    # --- life ---

    async def open(self) -> None:
        """Connect the stage and take over the transactional id; call before the poller starts."""
        await self._until_it_passes(self._stage.open)
        await self._until_it_passes(self._transactions.start)

    async def close(self) -> None:
        """Let go of everything; call after the poller has stopped."""
        await self._transactions.stop()
        await self._stage.close()

    def feed(self, chunk: Chunk) -> None:
        """Take in a chunk; called by the stage's agent for each one."""
        if chunk.lease.closing or not chunk.lease.alive:
            self._poller.release(chunk.size_bytes)
            return
        self._batcher.add(chunk, now_s=self._clock.monotonic_s())
        self._arrived.set()

    async def run(self) -> None:
        """Settle batches until cancelled.

        Raises:
            FencedError, RefusedError, BugError: the stage has stopped, its open batch is uncommitted.
        """
        next_due_s = self._clock.monotonic_s()
        while True:
            now_s = self._clock.monotonic_s()
            if now_s >= next_due_s:
                await self._publish_due()
                next_due_s = now_s + _DUE_EVERY_S
            wait_s = self._batcher.due_in_s(now_s=now_s)
            if wait_s == 0.0:
                await self._settle_next(now_s)
                continue
            limit_s = max(0.0, next_due_s - now_s)
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), limit_s if wait_s is None else min(wait_s, limit_s))

    # --- ownership (streams.engine.poller.Owner) ---

    async def assigned(self, leases: list[Lease]) -> None:
        """Load the state of new partitions; retries while the parts it needs are away."""
        async with self._loading:
            for lease in leases:
                await self._load(lease)
        log.info("partitions_assigned", stage=self._stage.spec.name, partitions=sorted(x.partition for x in leases))

    async def revoked(self, leases: list[Lease], *, lost: bool) -> None:
        """End what is open on these partitions, within the deadline, and forget them."""
        going = set(leases)
        # 1. Nothing of them is taken any more.
        for lease in leases:
            lease.closing = True
        self._poller.release(self._batcher.drop(going))
        # 2. The open batch may end within the deadline; one that has begun to commit always ends.
        working = self._working
        if working is not None and self._working_leases & going:
            deadline_s = 0.0 if lost else self._settings.worker.revoke_deadline.total_seconds()
            await asyncio.wait({working}, timeout=deadline_s)
        for lease in leases:
            lease.alive = False
        if working is not None and self._working_leases & going and not (lost and self._committing):
            # A commit of lost partitions is not waited for: the broker refuses it, and may be away for long.
            await self._give_up(working)
        # 3. Forget them.
        for lease in leases:
            self._leases.pop(lease.partition, None)
            self._committed_offsets.pop(lease.partition, None)
            self._stage.unload(lease.partition)
        log.info("partitions_revoked", stage=self._stage.spec.name, partitions=[x.partition for x in leases], lost=lost)

    async def _give_up(self, working: "asyncio.Task[None]") -> None:
        """Cancel a batch, but no commit that has begun: that one ends, and if it fails it is not tried again."""
        while not working.done():
            if not self._committing:
                working.cancel()
            await asyncio.wait({working}, timeout=_COMMIT_ASKED_EVERY_S)

    async def _load(self, lease: Lease) -> None:
        await self._until_it_passes(
            partial(self._stage.load, lease.partition, position=lease.start_offset), wanted=lambda: lease.alive
        )
        if lease.alive:
            self._leases[lease.partition] = lease
        else:
            self._stage.unload(lease.partition)

    # --- one batch ---

    async def _settle_next(self, now_s: float) -> None:
        raw = self._batcher.take(now_s=now_s)  # 1.
        self.progress.closed_by[raw.closed_by] = self.progress.closed_by.get(raw.closed_by, 0) + 1
        size_bytes = sum(record_bytes(message) for _, message in raw.records)
        try:
            # Of a batch that was halved, the first half may have committed before the second was given up.
            while (raw := raw.alive().behind(self._committed_offsets)).records:
                self._working_leases = frozenset(lease for lease, _ in raw.records)
                self._working = asyncio.create_task(self._settle(raw))
                try:
                    await asyncio.shield(self._working)
                except asyncio.CancelledError:
                    if not self._working.cancelled():  # we are being stopped, not the batch
                        self._working.cancel()
                        await asyncio.wait({self._working})
                        raise
                    # Partitions were taken away under it: what is still ours is settled again.
                else:
                    return
        finally:
            self._working = None
            self._working_leases = frozenset()
            self._poller.release(size_bytes)

    async def _settle(self, raw: RawBatch) -> None:
        """Settle a batch for good: retried while errors are transient, halved while one event poisons it."""
        backoff = self._backoff()
        while True:
            try:
                await self._attempt(raw, failed=[])
            except asyncio.CancelledError:
                raise
            except Exception as error:  # the one place where every error is classified
                step = classify(error)
                if step is Rung.RETRY:
                    self.progress.retries += 1
                    await self._wait(cast("TransientError", error), backoff)
                    raw = raw.alive()
                    if not raw.records:
                        return
                elif step is Rung.STOP:
                    raise
                elif not self._stage.dead_letters:
                    raise RefusedError(
                        f"{self._stage.spec.name} cannot go on: {type(error).__name__}: {error}. Nothing is skipped"
                        " here: mend the cause and start again"
                    ) from error
                elif len(raw.records) > 1:
                    log.warning(
                        "batch_bisected",
                        stage=self._stage.spec.name,
                        records=len(raw.records),
                        error=type(error).__name__,
                    )
                    for half in raw.halves():
                        await self._settle(half)
                    return
                else:
                    await self._dead_letter(raw, error, attempts=backoff.failures + 1)
                    return
            else:
                return

    async def _dead_letter(self, raw: RawBatch, error: Exception, *, attempts: int) -> None:
        """One event has failed alone: settle it as a dead letter, so that the rest goes on."""
        message = raw.records[0][1]
        reason = error.reason if isinstance(error, PoisonError) else Reason.POISON
        letter = Failed(message=message, reason=reason, error=f"{type(error).__name__}: {error}", attempts=attempts)
        log.warning(
            "dead_letter",
            stage=self._stage.spec.name,
            partition=message.partition(),
            offset=message.offset(),
            reason=reason,
            error=type(error).__name__,
        )
        backoff = self._backoff()
        while raw.alive().records:
            try:
                await self._attempt(raw, failed=[letter])
            except TransientError as passing:
                await self._wait(passing, backoff)
            except PoisonError as stuck:
                raise RefusedError(f"the dead-letter topic does not take the event: {stuck}") from stuck
            else:
                return

    async def _attempt(self, raw: RawBatch, *, failed: Sequence[Failed]) -> None:
        spec = self._stage.spec
        decoded = decode_batch(raw, codec=self._codec, spec=spec, given_up=failed)  # 2.
        batch, letters = decoded.batch, [*failed, *decoded.undecodable]
        decision = await self._stage.decide(batch)  # 3.
        for partition, verdicts in decoded.skipped.items():
            decision.verdicts.setdefault(partition, []).extend(verdicts)
        if decision.publish:
            await self._transactions.publish(decision.publish)  # 4.
        if decision.effect is not None:
            await self._stage.perform(decision.effect)  # 5.
        decided_at = self._clock.now()
        outputs: list[Output] = [
            *decision.outputs,
            *dead_letter_outputs(spec, letters, failed_at=decided_at),
            *ledger_outputs(spec, raw, decision, letters, decided_at=decided_at),
        ]
        await self._commit(raw, outputs, batch.last_offsets)  # 6.
        self._finish(raw, batch, decision, letters)  # 7.

    async def _commit(self, raw: RawBatch, outputs: list[Output], last_offsets: Any) -> None:
        if not all(lease.alive for lease, _ in raw.records):
            raise TransientError("partitions of the batch were given back")
        metadata = self._poller.group_metadata
        if metadata is None:
            raise TransientError("not a member of the group at the moment")
        topic = self._settings.kafka.namespace + self._stage.spec.reads.name
        self._committing = True
        try:
            # Shielded: a transaction that has begun is ended, whoever cancels the batch meanwhile.
            commit = asyncio.ensure_future(
                self._transactions.commit(outputs, offsets=end_offsets(topic, last_offsets), metadata=metadata)
            )
            try:
                await asyncio.shield(commit)
            except asyncio.CancelledError:
                await asyncio.wait({commit})
                if commit.exception() is not None:
                    raise
        finally:
            self._committing = False

    def _finish(self, raw: RawBatch, batch: MicroBatch[Any], decision: Decision, letters: Sequence[Failed]) -> None:
        if decision.state is not None:
            self._stage.committed(decision.state)
        self._committed_offsets.update(batch.last_offsets)
        self.progress.batches += 1
        self.progress.records += len(raw.records)
        self.progress.dead_letters += len(letters)

    # --- time ---

    async def _publish_due(self) -> None:
        at_end = frozenset(
            partition
            for partition, lease in self._leases.items()
            if lease.end_offset is not None and self._settled(partition, lease)
        )
        due = self._stage.due(at_end=at_end)
        if due:
            with suppress(TransientError):  # the stage asks for it again
                await self._transactions.publish(due)

    def _settled(self, partition: int, lease: Lease) -> bool:
        return self._committed_offsets.get(partition, lease.start_offset - 1) + 1 >= lease.next_offset

    async def _until_it_passes(
        self, call: Callable[[], Awaitable[None]], *, wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Repeat a call for as long as it fails in passing, and as long as it is wanted."""
        backoff = self._backoff()
        while wanted():
            try:
                await call()
            except TransientError as error:
                await self._wait(error, backoff)
            else:
                return

    def _backoff(self) -> Backoff:
        retry = self._settings.retry
        return Backoff(retry.first_delay, retry.max_delay, self._jitter)

    async def _wait(self, error: TransientError, backoff: Backoff) -> None:
        delay_s = backoff.next_delay_s(error)
        log.warning(
            "retry", stage=self._stage.spec.name, delay_s=round(delay_s, 3), failures=backoff.failures, error=str(error)
        )
        await asyncio.sleep(delay_s)
