"""Tokens as index terms: one form that no store's tokenizer splits, folds or cuts.

Tokens come from `streams.analysis`, and a store must find exactly what was written: SQLite's tokenizer splits at
punctuation and folds A-Z, Weaviate's splits at white space, both limit lengths. So a token that is a plain lower-case
word stays readable, and any other is replaced by a digest of itself. Nothing ever needs the way back.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

DIGEST_MARK = "~"
"""Stands before a digest. It is in no plain word, so a word can never be mistaken for a digest."""

MAX_WORD_CHARS = 64
"""Longer tokens are noise (links, encoded data); their digest is a term like any other."""


@lru_cache(maxsize=1 << 16)
def term_of(token: str) -> str:
    """The index term of a token; different tokens have different terms."""
    if len(token) <= MAX_WORD_CHARS and token.isalnum() and token == token.lower():
        return token
    return DIGEST_MARK + blake2b(token.encode(), digest_size=16).hexdigest()


def terms_of(tokens: Iterable[str]) -> list[str]:
    """The index terms of some tokens; repeats stay, empty tokens go."""
    return [term_of(token) for token in tokens if token]
