"""An extractor that computes on the event loop without ever giving it back: what a careless one looks like."""

import time
from collections.abc import Sequence

from schemas.window import Window
from streams.extractors.protocol import Fact

BLOCKS_FOR_S = 5.0


class BlockingExtractor:
    """Blocks the loop on its first call; finds nothing."""

    name = "blocking"

    def __init__(self) -> None:
        self._has_blocked = False

    async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
        """Block once."""
        if not self._has_blocked:
            self._has_blocked = True
            time.sleep(BLOCKS_FOR_S)  # noqa: ASYNC251  (the fault that is tested)
        return [[] for _ in windows]
