"""What every embedder promises. Another implementation joins by one line in `EMBEDDERS`."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.embedders.factory import create_embedder
from streams.embedders.protocol import Embedder
from streams.embedders.static import StaticEmbedder

EMBEDDERS: dict[str, Callable[[], Embedder]] = {
    "static": StaticEmbedder,
    "factory": create_embedder,
}

TEXTS = st.lists(
    st.one_of(st.text(max_size=80), st.sampled_from(["", "I moved to Berlin.", "我住在北京", "🍕"])), max_size=8
)


@pytest.fixture(scope="module", params=EMBEDDERS)
def embedder(request: pytest.FixtureRequest) -> Embedder:
    """One of the implementations."""
    return EMBEDDERS[request.param]()


def embedded(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed outside of an event loop, as hypothesis needs it."""
    return asyncio.run(embedder.embed(texts))


def test_it_names_its_model(embedder: Embedder) -> None:
    """Every vector can be traced to a model, and every model has one length."""
    assert embedder.model
    assert embedder.dimensions > 0


@settings(deadline=None)
@given(texts=TEXTS)
def test_one_vector_a_text(embedder: Embedder, texts: list[str]) -> None:
    """One row a text, finite float32, of unit length or zero."""
    vectors = embedded(embedder, texts)
    assert vectors.shape == (len(texts), embedder.dimensions)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))


@settings(deadline=None)
@given(text=st.text(max_size=80), before=TEXTS, after=TEXTS)
def test_texts_do_not_influence_each_other(embedder: Embedder, text: str, before: list[str], after: list[str]) -> None:
    """The same text gives the same bytes, whatever batch it comes in and however often."""
    (alone,) = embedded(embedder, [text])
    together = embedded(embedder, [*before, text, *after])[len(before)]
    assert together.tobytes() == alone.tobytes()


def test_nothing_to_embed_gives_zeros(embedder: Embedder) -> None:
    """Empty texts and empty batches are fine."""
    assert embedded(embedder, []).shape == (0, embedder.dimensions)
    assert not embedded(embedder, ["", " \n"]).any()


def test_a_long_text_is_embedded(embedder: Embedder) -> None:
    """Texts have any length."""
    assert embedded(embedder, ["I moved to Berlin last week. " * 2000]).any()


def test_alike_is_nearer_than_unlike(embedder: Embedder) -> None:
    """Vectors mean something: texts about one thing are nearer than texts about two."""
    home, same, other = embedded(
        embedder, ["I moved to a new apartment in Berlin", "We relocated to another flat", "My cat hates the vet"]
    )
    assert home @ same > home @ other
