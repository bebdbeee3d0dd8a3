"""What an extractor promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schemas.window import Window


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One statement found in a window.

    Attributes:
        text: the statement, readable on its own, in the language it was made in.
        source_event_ids: the turns it stands in, at least one, in log order; from the window, never from the context.
        slot: the single-valued attribute it is about, such as `home`, if any.
        valid_from: since when it is true; none means since it was said.
        confidence_ratio: how sure the extractor is, 0 to 1.
    """

    text: str
    source_event_ids: tuple[str, ...]
    slot: str | None = None
    valid_from: datetime | None = None
    confidence_ratio: float = 1.0


class Extractor(Protocol):
    """Reads windows and says which facts they state.

    Only what people say about themselves and their world is a fact; an assistant's words never are. Nothing found is an
    empty list and no failure.
    """

    @property
    def name(self) -> str:
        """Names extractor and version."""

    async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
        """Extract from several windows; one list a window, same order.

        Raises:
            TransientError: the model is away or busy; the engine waits and asks again.
            PoisonError: a window cannot be read; it is asked for by itself then, and dead-lettered if that fails too.
        """
