"""Index terms."""

from hypothesis import given
from hypothesis import strategies as st

from streams.stores.terms import DIGEST_MARK, MAX_WORD_CHARS, term_of, terms_of

tokens = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


@given(tokens)
def test_terms_are_safe(token: str) -> None:
    """No tokenizer can split, fold or cut a term: it is a short word in lower case, or a marked digest."""
    term = term_of(token)

    word = term.removeprefix(DIGEST_MARK)
    assert word.isalnum()
    assert word == word.lower()
    assert len(term) <= MAX_WORD_CHARS
    assert term.split() == [term]


@given(tokens, tokens)
def test_different_tokens_have_different_terms(one: str, other: str) -> None:
    """Two tokens share a term only if they are the same, and a digest of one is no other's word."""
    assert (term_of(one) == term_of(other)) == (one == other)
    assert term_of(term_of(one)) == term_of(one) or term_of(one).startswith(DIGEST_MARK)


def test_plain_words_stay_readable() -> None:
    """Lower-case words of any script are their own terms."""
    words = ["berlin", "2025", "élan", "東京"]

    assert terms_of(words) == words


def test_repeats_stay_and_nothing_goes() -> None:
    """Repeats count in BM25, so they stay; empty tokens are nothing."""
    assert terms_of(["a", "", "a"]) == ["a", "a"]
