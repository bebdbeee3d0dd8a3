"""The page on public forms shows forms that are true."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from schemas.codec import CHANGES, CONVERSATION_EVENTS
from schemas.conversation import ConversationEvent
from schemas.memory import MemoryChange
from streams.clients.reader import SearchResult

PAGE = (Path(__file__).parents[4] / "docs" / "events.md").read_text()
BLOCKS = re.findall(r"^```(\w+) ?([\w ]*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def blocks(language: str, about: str) -> list[str]:
    """Examples of one sort."""
    return [text for lang, name, text in BLOCKS if (lang, name) == (language, about)]


def test_every_type_of_event_has_an_example_that_is_one() -> None:
    """Each event on the page is decoded as what it says it is, and all four public types are there."""
    events = [CONVERSATION_EVENTS.decode(text.encode()) for text in blocks("json", "event")]
    assert all(isinstance(event, ConversationEvent) and event.event_id for event in events)
    tags = [event.__struct_config__.tag for event in events]
    assert tags == ["turn", "conversation_ended", "forget", "correction"]


def test_the_example_of_a_change_has_all_fields() -> None:
    """The change on the page is one, field by field; only what may be absent is."""
    [text] = blocks("json", "change")
    change = CHANGES.decode(text.encode())
    assert isinstance(change, MemoryChange)
    assert json.loads(CHANGES.encode(change)) == json.loads(text)
    for field in MemoryChange.__struct_fields__:
        assert f"`{field}`" in PAGE or field == "v"


def test_the_example_of_results_is_what_search_prints() -> None:
    """The results on the page have exactly the fields of a search result."""
    [text] = blocks("json", "results")
    [result] = json.loads(text)["results"]
    assert json.loads(msgspec.json.encode(msgspec.convert(result, SearchResult))) == result


@pytest.mark.parametrize("about", ["plain client", "plain consumer"])
def test_examples_for_other_clients_are_programs(about: str) -> None:
    """Code for plain Kafka clients compiles; the event in it is one."""
    [text] = blocks("python", about)
    compile(text, about, "exec")
