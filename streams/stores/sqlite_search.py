"""The two legs of a search in SQLite: BM25 and exact cosine, over one user's memories, in NumPy."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.stores.terms import terms_of

Scored = list[tuple[int, float]]
"""(memory number, score), best first."""

K1 = 1.2
B = 0.75
"""BM25's usual constants, the same as in our Weaviate collections."""

VECTOR_TYPE = np.dtype("<f2")
"""Half precision, as vectors travel on Kafka; nothing is lost by storing them so."""


def legs(
    connection: sqlite3.Connection, user_no: int, *, tokens: Sequence[str], vector: NDArray[np.float32], limit: int
) -> tuple[Scored, Scored]:
    """The lexical and the vector leg.

    Both come from one scan over the user's memories, in the order in which they stand in the file. There is no cache of
    them: other processes write the same file, and a scan costs 0.2 ms for a hundred memories.
    """
    entries = connection.execute(
        "SELECT memory_no, terms, vector FROM memories WHERE user_no = ? ORDER BY memory_no", (user_no,)
    ).fetchall()
    if not entries:
        return [], []
    return _lexical(connection, user_no, entries, tokens, limit), _nearest(entries, vector, limit)


def _lexical(
    connection: sqlite3.Connection, user_no: int, entries: list[Any], tokens: Sequence[str], limit: int
) -> Scored:
    numbers = np.array([number for number, _, _ in entries], dtype=np.int64)
    lengths = np.array([terms for _, terms, _ in entries], dtype=np.float64)
    length_factors = K1 * (1 - B + B * lengths / max(lengths.mean(), 1.0))
    scores = np.zeros(len(entries))
    for term, repeats in Counter(words_of(user_no, tokens)).items():
        postings = connection.execute("SELECT doc, count(*) FROM postings WHERE term = ? GROUP BY doc", (term,))
        found = np.array(postings.fetchall(), dtype=np.int64).reshape(-1, 2)
        places, counts = np.searchsorted(numbers, found[:, 0]), found[:, 1]
        rarity = np.log1p((len(entries) - len(found) + 0.5) / (len(found) + 0.5))
        scores[places] += repeats * rarity * counts * (K1 + 1) / (counts + length_factors[places])
    return _best(numbers, scores, limit, above=0.0)


def _nearest(entries: list[Any], query: NDArray[np.float32], limit: int) -> Scored:
    length = float(np.linalg.norm(query))
    with_vector = [(number, vector) for number, _, vector in entries if vector]
    if length == 0.0 or not with_vector:
        return []
    numbers = np.array([number for number, _ in with_vector], dtype=np.int64)
    joined = np.frombuffer(b"".join(vector for _, vector in with_vector), dtype=VECTOR_TYPE)
    matrix = joined.reshape(len(with_vector), -1).astype(np.float32)
    cosines = (matrix @ query) / (np.linalg.norm(matrix, axis=1) * length)
    return _best(numbers, cosines, limit)


def _best(numbers: NDArray[Any], scores: NDArray[Any], limit: int, *, above: float = -np.inf) -> Scored:
    order = np.argsort(-scores, kind="stable")[:limit]
    return [(int(numbers[place]), float(scores[place])) for place in order if scores[place] > above]


def words_of(user_no: int, tokens: Sequence[str]) -> list[str]:
    """The terms of some tokens, each behind the user's number."""
    prefix = f"{user_no}~"
    return [prefix + term for term in terms_of(tokens)]


def vector_bytes(vector: NDArray[np.float32]) -> bytes:
    """A vector as it is stored; empty where there was nothing to embed, so that no query finds it."""
    half = vector.astype(VECTOR_TYPE)
    return half.tobytes() if half.any() else b""
