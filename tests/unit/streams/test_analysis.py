"""The analyser: what texts are found by, and when two statements are the same."""

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.memory import Memory
from streams.analysis import STOP_WORDS, document_tokens, normalized, tokens

TEXTS = st.one_of(
    st.text(),
    st.text(alphabet=st.sampled_from("aIi\u0307ß'’ .,-:/+#%5٣３第京日本กี่한글\u0301\u200b\u200d\ufe0f❤")),
)
SPACELESS = st.text(alphabet=st.sampled_from("我在北京工作住上海東京ソウル한국어"), min_size=1)
WORDS = st.text(alphabet=st.characters(categories=["L", "Nd"]), min_size=1)


def memory(*, text: str, name: str | None, occurred_at: datetime, valid_from: datetime) -> Memory:
    """A turn's memory; only what it is found by varies."""
    return Memory(
        tenant="t", user_id="u", memory_id="m", kind="turn", text=text, revision=1, generation=1, conversation_id="c",
        role="user", name=name, slot=None, source_event_ids=["e"], occurred_at=occurred_at, valid_from=valid_from,
        valid_to=None, recorded_at=occurred_at, retracted_at=None, superseded_by=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I moved to Berlin last week.", ["move", "berlin", "last", "week"]),
        ("Maria's dogs aren't well", ["maria", "dog", "well"]),
        ("She’s at O’Brien’s", ["o", "brien"]),
        ("March 3rd, 2025", ["march", "3", "2025"]),
        ("I live in the US since May", ["live", "us", "sinc", "may"]),
        ("我在Google工作，住在北京。", ["我在", "googl", "工作", "住在", "在北", "北京"]),
        ("茶", ["茶"]),
        ("안녕 서울에", ["안녕", "서울", "울에"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("Я живу в Москве", ["я", "живу", "в", "москве"]),
        ("٢٠٢٥ ２０２５", ["2025", "2025"]),
        ("İstanbul Straße", ["istanbul", "strass"]),
        ("covid19 b2b", ["covid19", "b2b"]),
        ("the and of", []),
        ("❤️ 🍕 !!", []),
        ("", []),
    ],
)
def test_tokens_of_each_script(text: str, expected: list[str]) -> None:
    """Latin words are stemmed, spaceless scripts give pairs, other scripts keep words, stop words fall out."""
    assert tokens(text) == expected


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_equivalent_texts_give_equal_tokens(text: str, form: str) -> None:
    """How a text is composed does not change what it is found by, nor what it equals."""
    other = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    assert tokens(other) == tokens(text)
    assert normalized(other) == normalized(text)


@settings(deadline=None)
@given(WORDS)
def test_a_word_is_always_found_by_something(word: str) -> None:
    """A text with letters or digits that are no stop words has tokens."""
    folded = normalized(word)  # of a few Arabic presentation forms, which are letters, only a mark is left
    if any(map(str.isalnum, folded)) and not set(folded.split()) <= STOP_WORDS:
        assert tokens(word)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_plain_text_is_split_as_any_other(text: str) -> None:
    """A text in ASCII alone has the tokens that it has in front of other scripts."""
    assert tokens(text) == tokens(f"{text} я")[:-1]


@settings(deadline=None)
@given(TEXTS)
def test_tokens_are_words(text: str) -> None:
    """No token is empty, has white space, or is a bare sign."""
    assert all(token and not token.isspace() and len(token.split()) == 1 for token in tokens(text))


@settings(deadline=None)
@given(st.lists(SPACELESS, min_size=1))
def test_tokens_of_spaceless_scripts_are_their_own_tokens(runs: list[str]) -> None:
    """Pairs of characters, joined by spaces, are analysed to themselves (stems are not: stemming is not idempotent)."""
    found = tokens(" ".join(runs))
    assert tokens(" ".join(found)) == found


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_texts_are_analysed_apart(first: str, second: str) -> None:
    """A text after a line break neither changes the tokens before it nor has its own changed."""
    assert tokens(f"{first}\n{second}") == tokens(first) + tokens(second)


@settings(deadline=None)
@given(SPACELESS, SPACELESS)
def test_a_part_of_a_spaceless_text_is_found(part: str, rest: str) -> None:
    """Whatever stands in a Chinese text is found by its pairs, without knowing its words."""
    if len(part) > 1:
        assert set(tokens(part)) <= set(tokens(rest + part + rest))


@settings(deadline=None)
@given(TEXTS)
def test_normalizing_twice_changes_nothing(text: str) -> None:
    """A normalized text is its own normalized form."""
    assert normalized(normalized(text)) == normalized(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I live in Berlin.", "  i live\nin BERLIN "),
        ("Ｉ　ｌｉｖｅ in Berlin", "I live in Berlin!"),
        ("It’s 5 – no, 6", "it's 5 - no: 6"),
        ("我住在北京。", "我住在北京！"),
        ("café", "cafe\u0301"),
        ("co\u00adoperate", "cooperate"),
        ("٣ قطط", "3 قطط"),
    ],
)
def test_the_same_statement_is_equal(one: str, other: str) -> None:
    """Case, width, composition, white space and punctuation do not make another statement."""
    assert normalized(one) == normalized(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I weigh 3.5 kg", "I weigh 35 kg"),
        ("It was -5 degrees", "It was 5 degrees"),
        ("I write C++", "I write C#"),
        ("I paid $5", "I paid €5"),
        ("I do like it", "I do not like it"),
        ("We meet at 10:30", "We meet at 10 30"),
        ("我对花生过敏", "我对花粉过敏"),
        ("живу в Москве", "живу в Минске"),
        ("año", "ano"),
    ],
)
def test_different_statements_stay_apart(one: str, other: str) -> None:
    """Numbers, signs, negation and letters of any script count."""
    assert normalized(one) != normalized(other)


def test_a_memory_is_found_by_words_speaker_and_dates() -> None:
    """A query for the speaker, the month or the year of a turn finds it."""
    said_at = datetime(2025, 3, 1, 10, tzinfo=UTC)
    found = document_tokens(memory(text="I moved to Berlin.", name="María", occurred_at=said_at, valid_from=said_at))
    assert found == ["move", "berlin", "maría", "march", "1", "2025"]
    assert set(tokens("March 2025")) <= set(found)


def test_the_name_in_front_of_a_fact_counts_once() -> None:
    """A fact that starts with its speaker's name is not found better by that name than a turn is."""
    said_at = datetime(2025, 3, 1, tzinfo=UTC)
    found = document_tokens(memory(text="Maria: I moved.", name="Maria", occurred_at=said_at, valid_from=said_at))
    assert found.count("maria") == 1


def test_both_times_of_a_memory_find_it() -> None:
    """A fact said in one month and true since another is found by both."""
    found = document_tokens(
        memory(
            text="I work at Siemens.",
            name=None,
            occurred_at=datetime(2025, 3, 1, tzinfo=UTC),
            valid_from=datetime(2024, 11, 5, tzinfo=UTC),
        )
    )
    assert {"march", "2025", "novemb", "2024"} <= set(found)


def test_a_chinese_memory_is_found_by_a_chinese_date() -> None:
    """A query like 2025年3月 finds a Chinese memory by its date."""
    said_at = datetime(2025, 3, 1, tzinfo=UTC)
    found = document_tokens(memory(text="我搬到了北京。", name="王芳", occurred_at=said_at, valid_from=said_at))
    assert {"王芳", "3", "月", "2025"} <= set(found)
