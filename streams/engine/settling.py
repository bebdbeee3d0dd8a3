"""One batch by itself, until every event of it has its outcome: retried, halved, and the last one left dead-lettered.

This is the slow way, for batches that failed in the pipeline: nothing else of the stage is open meanwhile, and the
state that a part of the batch changes becomes visible only when that part has committed.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from schemas.outcome import Reason
from streams.engine.attempt import Attempt, Attempts
from streams.engine.batcher import RawBatch
from streams.engine.ladder import Rung, classify
from streams.engine.ledger import Failed
from streams.engine.quarantine import CrashError, Quarantine
from streams.engine.stage import Stage
from streams.errors import PoisonError, RefusedError, TransientError

log = structlog.get_logger("memstream.engine")


class Settler:
    """Settles one batch for good.

    Args:
        stage: whose batch it is.
        attempts: makes tries.
        perform: does one's outside effect; called through `repeat`.
        commit: commits one; called through `repeat`.
        repeat: repeats a call for as long as it fails in passing.
        quarantine: says which events may kill the process.
    """

    def __init__(
        self,
        stage: Stage[Any],
        attempts: Attempts,
        *,
        perform: Callable[[Attempt], Awaitable[None]],
        commit: Callable[[Attempt], Awaitable[None]],
        repeat: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
        quarantine: Quarantine,
    ) -> None:
        self._stage = stage
        self._attempts = attempts
        self._perform = perform
        self._commit = commit
        self._repeat = repeat
        self._quarantine = quarantine

    async def settle(self, raw: RawBatch) -> None:
        """Give every event its outcome.

        Raises:
            RefusedError: an event cannot be handled and must not be skipped, or the dead-letter topic refuses it.
        """
        suspects, rest = self._quarantine.split(raw)
        for suspect in suspects:
            async with self._quarantine.alone:
                self._quarantine.open(suspect)
                await self._settle_suspect(suspect)
        if rest.parts:
            await self._settle(rest)

    async def _settle_suspect(self, raw: RawBatch) -> None:
        crash = self._quarantine.verdict(raw)
        if crash is None:
            await self._settle(raw)
        elif not self._stage.dead_letters:
            ((_, message),) = raw
            raise self._refused(f"{crash}: partition {message.partition()}, offset {message.offset()}")
        elif crash.is_hopeless or not await self._try(raw, crash=crash):
            await self._dead_letter(raw, crash)

    async def _settle(self, raw: RawBatch) -> None:
        try:
            await self._try(raw)
        except Exception as error:
            if classify(error) is Rung.STOP:
                raise
            if not self._stage.dead_letters:
                raise self._refused(f"{type(error).__name__}: {error}") from error
            if len(raw) > 1:
                log.warning("batch_bisected", stage=self._stage.spec.name, records=len(raw), error=type(error).__name__)
                for half in raw.halves():
                    await self._settle(half)
            else:
                await self._dead_letter(raw, error)

    def _refused(self, why: str) -> RefusedError:
        return RefusedError(
            f"{self._stage.spec.name} cannot go on: {why}. Nothing is skipped here: mend the cause and start again"
        )

    async def _try(self, raw: RawBatch, *, given_up: Sequence[Failed] = (), crash: CrashError | None = None) -> bool:
        """Go all the way; false when there is no way but to give the event up."""
        is_decided = True

        async def once() -> None:
            await self._quarantine.begin(raw)
            try:
                await through()
            except TransientError:
                with suppress(TransientError):
                    await self._quarantine.withdraw(raw)
                raise

        async def through() -> None:
            nonlocal is_decided
            attempt = await self._attempts.decide(raw, given_up=given_up, crash=crash)
            if attempt is None:
                is_decided = False
                return
            await self._attempts.ask(attempt)
            await self._perform(attempt)
            await self._commit(attempt)
            if attempt.decision.state is not None:
                self._stage.apply(attempt.decision.state)

        await self._repeat(once)
        return is_decided

    async def _dead_letter(self, raw: RawBatch, error: Exception) -> None:
        """One event has failed alone: settle it as a dead letter, so that the rest goes on."""
        ((_, message),) = raw
        reason = error.reason if isinstance(error, PoisonError) else Reason.POISON
        log.warning(
            "dead_letter",
            stage=self._stage.spec.name,
            partition=message.partition(),
            offset=message.offset(),
            reason=reason,
            error=type(error).__name__,
        )
        letter = Failed(message=message, reason=reason, error=f"{type(error).__name__}: {error}", attempts=1)
        try:
            await self._try(raw, given_up=[letter])
        except PoisonError as stuck:
            raise RefusedError(f"the dead-letter topic does not take the event: {stuck}") from stuck
