"""Which embedder a process uses."""

from streams.embedders.factory import create_embedder
from streams.embedders.static import StaticEmbedder


def test_the_default_is_static() -> None:
    """Without settings, no model has to be fetched."""
    assert isinstance(create_embedder(), StaticEmbedder)
