"""Which embedder a process uses: the one place that knows the implementations."""

from streams.embedders.protocol import Embedder
from streams.embedders.static import StaticEmbedder


def create_embedder() -> Embedder:
    """Make the embedder; cheap, its table is loaded with the first text."""
    return StaticEmbedder()
