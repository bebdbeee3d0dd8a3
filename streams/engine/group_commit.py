"""Batches that are ready while one commits go together into the next transaction.

A transaction costs the same whether it holds a batch or four (measured: 15-20 ms on a laptop's broker, most of it the
coordinator's), so a stage that decides faster than it commits settles several at once; databases call it group commit
(DeWitt et al. 1984). One that keeps up commits each batch as soon as it is ready.
"""

import asyncio
from collections.abc import Sequence

from streams.engine.attempt import Attempt, Attempts
from streams.engine.dead_letter_limit import DeadLetterLimit
from streams.engine.open_batch import OpenBatch, Progress
from streams.engine.ownership import Ownership
from streams.engine.quarantine import Quarantine
from streams.errors import FencedError, TransientError


class GroupCommit:
    """Commits the batches of one stage, in their order.

    Args:
        attempts: makes transactions.
        open_batches: of the stage, in log order; looked at, never changed.
        ownership: told what is settled.
        letters: limits dead letters.
        quarantine: told what is settled.
        progress: counts.
    """

    def __init__(
        self,
        attempts: Attempts,
        open_batches: Sequence[OpenBatch],
        *,
        ownership: Ownership,
        letters: DeadLetterLimit,
        quarantine: Quarantine,
        progress: Progress,
    ) -> None:
        self._attempts = attempts
        self._open = open_batches
        self._ownership = ownership
        self._letters = letters
        self._quarantine = quarantine
        self._progress = progress

    async def ready(self, first: OpenBatch) -> list[OpenBatch]:
        """Commit the oldest open batch, and those behind it that are ready too.

        Returns:
            Those that have committed, in order. If one of them makes the transaction fail, it is the first alone, so
            that every batch meets its own failures only.

        Raises:
            Exception: as from `one`; none has committed.
        """
        self.must_be_open(first)
        ready: list[tuple[OpenBatch, Attempt]] = []
        for batch in self._open:
            if batch.ready is None:
                break
            ready.append((batch, batch.ready))
        try:
            await self._commit(ready)
        except (TransientError, FencedError):
            raise
        except Exception:
            if len(ready) == 1:
                raise
            ready = ready[:1]
            await self._commit(ready)
        return [batch for batch, _ in ready]

    async def one(self, batch: OpenBatch, attempt: Attempt) -> None:
        """Commit an attempt at a batch, or at a part of it.

        Raises:
            TransientError: nothing is committed; it may be tried again while the leases are alive.
            FencedError: the batch's partitions are gone.
            RefusedError: too many dead letters.
            PoisonError: an output does not fit; the batch must be decided again, in halves.
        """
        self.must_be_open(batch)
        await self._commit([(batch, attempt)])

    def must_be_open(self, batch: OpenBatch) -> None:
        """Look whether a batch was given up meanwhile.

        Raises:
            FencedError: it was.
        """
        if batch not in self._open:
            raise FencedError("the partitions of the batch were lost while it committed")

    async def _commit(self, ready: Sequence[tuple[OpenBatch, Attempt]]) -> None:
        batches, attempts = [batch for batch, _ in ready], [attempt for _, attempt in ready]
        for attempt in attempts:
            attempt.must_be_ours()
        records = sum(len(attempt.raw) for attempt in attempts)
        letters = sum(len(attempt.letters) for attempt in attempts)
        self._letters.check(records, letters)
        for batch in batches:
            batch.committing = True
        try:
            # Shielded: a transaction that has begun is ended, whoever cancels the batch meanwhile.
            commit = asyncio.ensure_future(self._attempts.commit(attempts))
            try:
                await asyncio.shield(commit)
            except asyncio.CancelledError:
                await asyncio.wait({commit})
                if commit.exception() is not None:
                    raise
        finally:
            for batch in batches:
                batch.committing = False
        for attempt in attempts:
            self._ownership.settled(attempt.raw)
            self._quarantine.settled(attempt.raw)
        self._letters.settled(records, letters)
        self._progress.transactions += 1
        self._progress.batches += len(attempts)
        self._progress.records += records
        self._progress.dead_letters += letters
