"""Calls that fail in passing are made again, for as long as they do."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from streams.engine.ladder import Backoff
from streams.engine.open_batch import Progress
from streams.errors import TransientError
from streams.settings import RetrySettings
from topology.graph import StageName

log = structlog.get_logger("memstream.engine")

T = TypeVar("T")


class Repeat:
    """Repeats calls of one stage, with jittered backoff.

    Args:
        stage: named in the log.
        settings: how long it waits.
        jitter: randomness of the backoff.
        progress: counts the retries.
    """

    def __init__(self, stage: StageName, settings: RetrySettings, *, jitter: random.Random, progress: Progress) -> None:
        self._stage = stage
        self._settings = settings
        self._jitter = jitter
        self._progress = progress

    async def __call__(
        self, call: Callable[[], Awaitable[T]], failed: Callable[[], Awaitable[None]] | None = None
    ) -> T:
        """Make a call until it returns, or fails in another way than in passing.

        Args:
            call: what to do.
            failed: done after each failure, and only tried.
        """
        backoff = Backoff(self._settings.first_delay, self._settings.max_delay, self._jitter)
        while True:
            try:
                return await call()
            except TransientError as error:
                self._progress.retries += 1
                delay_s = backoff.next_delay_s(error)
                log.warning(
                    "retry",
                    stage=self._stage,
                    delay_s=round(delay_s, 3),
                    failures=backoff.failures,
                    error=str(error),
                )
                if failed is not None:
                    with suppress(TransientError):
                        await failed()
                await asyncio.sleep(delay_s)
