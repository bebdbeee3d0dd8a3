"""The one analyser: text to the tokens that every store indexes and every query asks for.

Words are folded (NFKC, case), split by script, and reduced: English stop words fall out, words in Latin letters lose
their endings (Snowball English), and scripts written without spaces become pairs of neighbouring characters. All other
scripts keep their words whole. No character is dropped for not being ASCII.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date
from functools import lru_cache
from itertools import chain

import Stemmer

from schemas.memory import Memory

STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
    its itself they them their theirs themselves what which who whom whose this that these those am is are was were be
    been being have has had having do does did doing done can could would should shall will might must cannot a an the
    and but if or because as until while of at by for with about against between into through during before after above
    below to from up down in out on off over under again further then once here there when where why how all any both
    each few more most other some such no nor not only own same so than too very just also
    ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't shan't shouldn't
    wasn't weren't won't wouldn't let's
    """.split()  # noqa: SIM905 (a list of quoted words hides the words)
)
"""English words that say nothing about what a text is about. `may` (a month) and `us` (a country) are none of them."""

_NO_SPACES = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1100-\u11ff"  # Hangul letters
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b"  # Han radicals and signs
    "\u3041-\u30ff\u31f0-\u31ff"  # kana
    "\u3105-\u312f\u3131-\u318e\u31a0-\u31bf"  # Bopomofo, Hangul letters
    "\u3400-\u4dbf\u4e00-\u9fff"  # Han
    "\uac00-\ud7ff"  # Hangul
    "\uf900-\ufaff"  # Han, compatibility
    "\U0001b000-\U0001b16f"  # kana, rare
    "\U00020000-\U0003ffff"  # Han, rare: two planes, so that a newer Unicode version finds the same
)
"""Scripts whose words spaces do not tell apart. Korean has spaces, but particles stick to its words: it is here too."""

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
_RUN = re.compile(f"([{_NO_SPACES}]+)|[^\\s{_NO_SPACES}]+")
_CLITIC = re.compile(r"'(?:s|m|d|re|ve|ll)$")
_ORDINAL = re.compile(r"^(\d+)(?:st|nd|rd|th)$")
_IDLE_SIGN = re.compile(r"(?<!\d)[,:/]|(?<=[^\W\d_])[.-]|[.,:/-](?!\d)")
"""Signs that are neither between digits nor before a number that they change."""
_LATIN = re.compile("[a-z\u00df-\u024f\u1e00-\u1eff]+")

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


def tokens(text: str) -> list[str]:
    """What a text is found by, in order, with repeats. Queries are analysed by the same function.

    Guarantees: texts that are the same under NFKC and case folding give the same tokens; a text with a letter or digit
    gives at least one token, unless all its words are English stop words.
    """
    words = _folded(text).translate(_WORDLIKE)
    if words.isascii():  # nothing but words between spaces
        return list(chain.from_iterable(map(_terms, words.split())))
    found: list[str] = []
    for run in _RUN.finditer(words):
        if run[1]:
            found += _pairs(run[1])
        else:
            found += _terms(run[0])
    return found


def normalized(text: str) -> str:
    """The form in which two statements are compared for equality.

    Case, width, white space and punctuation do not count; signs that change a meaning do: those between and before
    digits (3.5, 10:30, -5), and symbols (C++, C#, 5 %, $5). Nothing is stemmed and no word is left out: a missed
    duplicate does less harm than two statements taken for one.

    Guarantees: applying it twice changes nothing; it is empty only for texts without letters, digits and symbols.
    """
    return " ".join(_IDLE_SIGN.sub(" ", _folded(text).translate(_MEANINGFUL)).split())


def document_tokens(memory: Memory) -> list[str]:
    """What a memory is found by: the words of its text, of its speaker, and of its dates.

    Words of the name count once more only where the text lacks them, so that facts, which start with the name, and
    turns are found by it alike. Dates are those of when it was said and since when it holds, in UTC, so that every
    reader and every replay sees the same.
    """
    found = tokens(memory.text)
    said = set(found)
    found += [token for token in tokens(memory.name or "") if token not in said]
    with_han = _HAN.search(memory.text) is not None
    for day in dict.fromkeys(at.astimezone(UTC).date() for at in (memory.occurred_at, memory.valid_from)):
        found += _day_tokens(day, with_han=with_han)
    return found


@lru_cache(maxsize=1 << 12)
def _day_tokens(day: date, *, with_han: bool) -> list[str]:
    found = tokens(f"{_MONTHS[day.month - 1]} {day.day} {day.year}")
    return found + tokens(f"{day.month}月{day.day}日") if with_han else found


def _folded(text: str) -> str:
    """Canonical caseless form: compatibility variants, case and invisible characters folded."""
    if text.isascii():
        return text.lower()
    text = text.translate(_VISIBLE)
    while True:  # folding case can leave something to compose, and composing something to fold: two rounds as a rule
        folded = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i").replace("\u2019", "'")
        if folded == text:
            return folded
        text = folded


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]


_STEMMER = Stemmer.Stemmer("english", 0)  # no cache of its own: `_terms` has one


@lru_cache(maxsize=1 << 16)
def _terms(word: str) -> tuple[str, ...]:
    """The terms of what stands between two spaces: none for a stop word, several where apostrophes join words."""
    word = word.strip("'")
    if word in STOP_WORDS:
        return ()
    parts = _CLITIC.sub("", word).split("'")
    return tuple(_term(part) for part in parts if part not in STOP_WORDS and any(map(str.isalnum, part)))


def _term(word: str) -> str:
    if _LATIN.fullmatch(word):
        stem: str = _STEMMER.stemWord(word)
        return stem
    return _ORDINAL.sub(r"\1", word)


class _Characters(dict[int, str | None]):
    """A table for `str.translate` that decides about a character when it first meets it."""

    def __init__(self, decide: Callable[[str], str | None]) -> None:
        super().__init__()
        self._decide = decide

    def __missing__(self, codepoint: int) -> str | None:
        self[codepoint] = replacement = self._decide(chr(codepoint))
        return replacement


def _visible(character: str) -> str | None:
    """Drops what is not seen: joiners, direction marks, soft hyphens, variation selectors, frames around characters."""
    if character == "\u200b":  # the one invisible character that separates words
        return " "
    invisible = unicodedata.category(character) in ("Cf", "Me") or "VARIATION SELECTOR" in unicodedata.name(
        character, ""
    )
    return None if invisible else character


def _wordlike(character: str) -> str:
    """Keeps letters, their marks, numbers and apostrophes; the rest separates words."""
    if unicodedata.category(character)[0] in "LMN":
        return _digit(character)
    return character if character == "'" else " "


def _meaningful(character: str) -> str:
    """Keeps letters, their marks, numbers, symbols, and the punctuation that may carry a meaning."""
    category = unicodedata.category(character)
    if category == "Pd" or character == "\u2212":  # dashes and the minus sign
        return "-"
    if category[0] in "LMN":
        return _digit(character)
    return character if category in ("Sc", "Sm", "So") or character in "#%&@.,:/" else " "


def _digit(character: str) -> str:
    """Digits of any script as 0-9; NFKC does this for full-width ones only."""
    return str(unicodedata.decimal(character, character))


_VISIBLE = _Characters(_visible)
_WORDLIKE = _Characters(_wordlike)
_MEANINGFUL = _Characters(_meaningful)
