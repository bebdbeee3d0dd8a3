"""What every extractor promises. Another implementation joins by one line in `EXTRACTORS`."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.window import Window, WindowTurn
from streams.extractors.factory import create_extractor
from streams.extractors.protocol import Extractor, Fact
from streams.extractors.rules import RulesExtractor
from streams.settings import ExtractSettings

EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "rules": RulesExtractor,
    "factory": lambda: create_extractor(ExtractSettings()),
}

STARTED_AT = datetime(2025, 3, 1, 10, tzinfo=UTC)
SAYINGS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "I moved to Berlin last week.",
            "I'm 34 years old.",
            "I adopted a dog.",
            "Thanks!",
            "Can you help me?",
            "我住在北京。",
        ]
    ),
)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """A window of any people and machines, with context before it."""
    speakers = st.sampled_from([("user", "Maria"), ("user", None), ("assistant", None), ("tool", "search")])
    said = draw(st.lists(st.tuples(speakers, SAYINGS), max_size=6))
    turns = [
        WindowTurn(f"e{i}", i, role, name, content, STARTED_AT + timedelta(minutes=i), STARTED_AT)
        for i, ((role, name), content) in enumerate(said)
    ]
    border = draw(st.integers(0, len(turns)))
    return window(turns[border:], context=turns[:border])


def window(turns: Sequence[WindowTurn], context: Sequence[WindowTurn] = ()) -> Window:
    """A window of these turns."""
    return Window(tenant="t", user_id="u", conversation_id="c", turns=list(turns), context=list(context))


def said(content: str, role: str = "user") -> Window:
    """A window of one turn."""
    return window([WindowTurn("e1", 1, role, None, content, STARTED_AT, STARTED_AT)])


@pytest.fixture(scope="module", params=EXTRACTORS)
def extractor(request: pytest.FixtureRequest) -> Extractor:
    """One of the implementations."""
    return EXTRACTORS[request.param]()


def extracted(extractor: Extractor, read: Sequence[Window]) -> list[list[Fact]]:
    """Extract outside of an event loop, as hypothesis needs it."""
    return asyncio.run(extractor.extract(read))


def test_it_has_a_name(extractor: Extractor) -> None:
    """Every fact can be traced to an extractor and its version."""
    assert extractor.name


@settings(deadline=None)
@given(read=st.lists(windows(), max_size=4))
def test_facts_are_whole(extractor: Extractor, read: list[Window]) -> None:
    """One list a window; every fact has words, a ratio, and sources from the window's own turns in log order."""
    answers = extracted(extractor, read)
    assert len(answers) == len(read)
    for asked, facts in zip(read, answers, strict=True):
        order = [turn.event_id for turn in asked.turns]
        for fact in facts:
            assert fact.text.strip()
            assert 0 <= fact.confidence_ratio <= 1
            places = [order.index(event_id) for event_id in fact.source_event_ids]
            assert places
            assert places == sorted(set(places))


@settings(deadline=None)
@given(read=st.lists(windows(), max_size=3))
def test_windows_do_not_influence_each_other(extractor: Extractor, read: list[Window]) -> None:
    """Windows read together give what they give alone."""
    assert extracted(extractor, read) == [extracted(extractor, [one])[0] for one in read]


@settings(deadline=None)
@given(read=windows())
def test_only_people_state_facts(extractor: Extractor, read: Window) -> None:
    """No fact stands on what a machine said."""
    people = {turn.event_id for turn in read.turns if turn.role == "user"}
    (facts,) = extracted(extractor, [read])
    assert {event_id for fact in facts for event_id in fact.source_event_ids} <= people


def test_a_plain_statement_is_found(extractor: Extractor) -> None:
    """Somebody who says where they moved to is understood."""
    ((fact, *_),) = extracted(extractor, [said("I moved to Berlin last week.")])
    assert "Berlin" in fact.text
    assert fact.source_event_ids == ("e1",)


def test_the_same_words_of_an_assistant_are_not(extractor: Extractor) -> None:
    """An assistant that speaks of itself in the first person states nothing."""
    assert extracted(extractor, [said("I moved to Berlin last week.", role="assistant")]) == [[]]


def test_nothing_found_is_no_failure(extractor: Extractor) -> None:
    """Windows without facts, without turns, and no windows at all are fine."""
    assert extracted(extractor, []) == []
    assert extracted(extractor, [window([]), said("Thanks!")]) == [[], []]
