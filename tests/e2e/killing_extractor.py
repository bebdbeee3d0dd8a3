"""An extractor that kills its process over certain words: what a fault in native code looks like to the worker."""

import os
import signal
from collections.abc import Sequence

from schemas.window import Window
from streams.extractors.protocol import Fact
from streams.extractors.rules import RulesExtractor

DEADLY = "deadly nightshade"


class KillingExtractor(RulesExtractor):
    """Reads windows as `rules` does, unless one speaks of something deadly."""

    async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
        """What the windows say, or the end."""
        if any(DEADLY in turn.content for window in windows for turn in window.turns):
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().extract(windows)
