"""The static embedder: a mean of rows, and what its table knows."""

from pathlib import Path

import numpy as np
import pytest

from streams.embedders import static
from streams.embedders.static import StaticEmbedder


@pytest.fixture
def embedder() -> StaticEmbedder:
    """The embedder under test."""
    return StaticEmbedder()


async def test_a_vector_is_the_direction_of_the_sum_of_its_tokens(embedder: StaticEmbedder) -> None:
    """Each token's row counts once for each time it stands in the text, and order does not count."""
    folder = Path(static.__file__).parent / "data" / "static-minilm-256"
    rows = np.load(folder / "table.int8.npy") * np.load(folder / "scale.f32.npy")[:, None]
    vocabulary = static._table().tokenizer.get_vocab()
    expected = 2 * rows[vocabulary["dog"]] + rows[vocabulary["berlin"]]
    vectors = await embedder.embed(["Dog dog Berlin", "Berlin dog dog"])
    np.testing.assert_allclose(vectors[0], expected / np.linalg.norm(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=1e-5, atol=1e-6)


async def test_text_of_unknown_characters_is_not_alike(embedder: StaticEmbedder) -> None:
    """Texts the table knows nothing of give zeros, not one vector that all of them share."""
    assert not (await embedder.embed(["🍕🍕", "𒀀𒁀"])).any()


async def test_special_tokens_in_a_text_count_nothing(embedder: StaticEmbedder) -> None:
    """Somebody who writes [SEP] does not move a vector."""
    plain, marked = await embedder.embed(["dog Berlin", "[CLS] dog [SEP] Berlin [PAD]"])
    assert plain.tobytes() == marked.tobytes()


async def test_no_text_is_cut(embedder: StaticEmbedder) -> None:
    """The tokenizer's own limit of 128 tokens does not apply."""
    short, long = await embedder.embed(["dog " * 128, "dog " * 128 + "Berlin " * 128])
    assert short.tobytes() != long.tobytes()


def test_the_table_is_loaded_once() -> None:
    """All embedders of a process share one table."""
    assert static._table() is static._table()
