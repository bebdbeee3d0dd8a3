"""How windows are read: together while that works, each by itself when it does not.

A window that cannot be read must not keep its neighbours from being read, nor the log from going on. Only what an
extractor fails on for good is given up; what is away or slow is waited for.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from schemas.window import Window
from streams.engine.ladder import Rung, classify
from streams.errors import TransientError
from streams.extractors.protocol import Extractor, Fact

Read = list[Fact] | Exception
"""What was found in a window, or why it cannot be read."""


class WindowReader:
    """Asks an extractor.

    Args:
        extractor: reads windows.
        timeout: of one call.
    """

    def __init__(self, extractor: Extractor, *, timeout: timedelta) -> None:
        self._extractor = extractor
        self._timeout = timeout

    async def read(self, windows: Sequence[Window]) -> list[Read]:
        """What each window says, in their order.

        Raises:
            TransientError: the extractor is away, busy or too slow.
            FencedError, RefusedError, BugError: it cannot work at all.
        """
        if not windows:
            return []
        try:
            return list(await self._ask(windows))
        except Exception as error:
            if classify(error) is not Rung.BISECT:
                raise
            if len(windows) == 1:
                return [error]
        return [found for window in windows for found in await self.read([window])]

    async def _ask(self, windows: Sequence[Window]) -> list[list[Fact]]:
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await self._extractor.extract(windows)
        except TimeoutError:
            raise TransientError(f"extractor {self._extractor.name} did not answer within {self._timeout}") from None
        except OSError as error:  # an extractor of the user's own that lets the network's errors through
            raise TransientError(f"extractor {self._extractor.name}: {type(error).__name__}: {error}") from error
