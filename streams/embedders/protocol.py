"""What an embedder promises."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns texts into vectors of one model.

    Guarantees: the same text gives the same bytes on the same machine and model; texts do not influence each other.
    """

    @property
    def model(self) -> str:
        """Names model and version; vectors of two models never mix in one generation."""

    @property
    def dimensions(self) -> int:
        """Length of every vector."""

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: any language, any length; an empty text is allowed.

        Returns:
            (n_texts, dimensions) float32, unit length, same order; a text with nothing to embed gives zeros.

        Raises:
            TransientError: the model is away or busy; the engine retries.
            PoisonError: this text cannot be embedded; the engine bisects and dead-letters it.
        """
