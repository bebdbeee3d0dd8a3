"""The static embedder: a mean of rows, and what its table knows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

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


_WORDS = st.sampled_from(
    [
        "Berlin",
        "don't",
        "[SEP]",
        "[CLS]x",
        "caf\u00e9",
        "\u0301",
        "我住在上海。",
        "ΟΔΟΣ",
        "x" * 120,
        "3.50€",
        "\u00ad",
        "\x1c",
        "",
    ]
)
_SPACES = st.sampled_from([" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u200b", ""])
_TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.tuples(_WORDS | st.text(max_size=6), _SPACES), max_size=12).map(
        lambda rows: "".join(map("".join, rows))
    ),
)


@given(_TEXTS)
def test_word_by_word_gives_the_tokens_of_the_whole_text(text: str) -> None:
    """The tokenizer finds the same tokens in the words between spaces as in the text."""
    whole = static._table().tokenizer.encode(text, add_special_tokens=False).ids
    assert static.token_ids(text) == whole
    assert static.token_ids(text) == whole  # now from the cache


def _one_by_one(text: str) -> NDArray[np.float32]:
    tokenizer, rows = static._table()
    vector = np.zeros(static.DIMENSIONS, dtype=np.float32)
    if ids := tokenizer.encode(text, add_special_tokens=False).ids:
        np.add.reduce(rows[ids], axis=0, out=vector)
        length = np.sqrt(np.dot(vector, vector))
        if length > 0:
            np.divide(vector, length, out=vector)
    return vector


@given(st.lists(_TEXTS, max_size=8))
async def test_a_batch_rounds_as_each_text_alone(texts: list[str]) -> None:
    """The vectors of a batch are bit for bit those of its texts taken one by one."""
    vectors = await StaticEmbedder().embed(texts)
    assert [vector.tobytes() for vector in vectors] == [_one_by_one(text).tobytes() for text in texts]
