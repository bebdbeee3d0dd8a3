"""The default embedder: a table of token vectors distilled from MiniLM; a text is the mean of its tokens.

No model runs, so it embeds tens of thousands of texts a second on one core, and the same text gives the same
bytes. How the table was made and what it is worth: `infra/models/static-minilm-256`. It knows English; of other
languages it knows single letters and characters at most, so they are found by their words.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

MODEL = "static-minilm-256/1"
DIMENSIONS = 256

_FOLDER = Path(__file__).parent / "data" / "static-minilm-256"


class StaticEmbedder:
    """Mean of the rows of a text's tokens, scaled to unit length.

    Work is done in the calling thread, a few microseconds for a short text whose words have been met before, ten for
    each new word. The table is read once a process, at the first text.
    """

    @property
    def model(self) -> str:
        """Names table and version; a new table is a new version."""
        return MODEL

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        return DIMENSIONS

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; one without any known token gives zeros."""
        rows = _table().rows
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        # One sum a text: faster than sums over a batch's rows, and no batch can then change a text's rounding.
        for vector, text in zip(vectors, texts, strict=True):
            if ids := token_ids(text):
                np.add.reduce(rows.take(ids, axis=0), axis=0, out=vector)
        lengths = np.sqrt(np.matmul(vectors[:, None, :], vectors[:, :, None])[:, :, 0])
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)  # the mean's divisor falls out here
        return vectors


def token_ids(text: str) -> list[int]:
    """The tokens of a text, word by word: a space always ends a token, and most words have been met before."""
    ids: list[int] = []
    for word in text.split(" "):
        ids += _known_ids(word) if len(word) <= _LONGEST_WORD else _ids(word)
    return ids


_LONGEST_WORD = 32
"""Longer ones are links, encoded data, or sentences in scripts without spaces: they do not come again."""


def _ids(text: str) -> list[int]:
    return _table().tokenizer.encode(text, add_special_tokens=False).ids


_known_ids = lru_cache(maxsize=1 << 16)(_ids)
"""Punctuation sticks to its word here; that costs entries, not tokens."""


class _Table(NamedTuple):
    tokenizer: Tokenizer
    rows: NDArray[np.float32]


@cache
def _table() -> _Table:
    tokenizer = Tokenizer.from_file(str(_FOLDER / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rows = np.load(_FOLDER / "table.int8.npy").astype(np.float32)
    rows *= np.load(_FOLDER / "scale.f32.npy")[:, None]
    # Special tokens carry no meaning. [UNK] above all: with a row of its own, all texts in unknown scripts were alike.
    special_ids = list(tokenizer.get_added_tokens_decoder())
    rows[special_ids] = 0.0
    assert rows.shape == (tokenizer.get_vocab_size(), DIMENSIONS)
    return _Table(tokenizer, rows)
