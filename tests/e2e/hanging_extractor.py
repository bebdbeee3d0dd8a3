"""An extractor that never answers: what a model behind a dead connection looks like to the worker."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from schemas.window import Window
from streams.extractors.protocol import Fact

ASKED_FILE = "HANGING_EXTRACTOR_ASKED_FILE"
"""Environment name of a file that is written when the extractor has been asked, so that a test knows that it hangs."""


class HangingExtractor:
    """Hangs for ever on every window."""

    name = "hanging"

    async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
        """Say that it was asked, and never answer."""
        Path(os.environ[ASKED_FILE]).write_text(str(len(windows)))  # noqa: ASYNC240  (it hangs anyway)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets this event")
