"""What the publisher takes, and how it refuses the rest. No broker is needed: it looks before it sends."""

import types
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conversation import Turn
from schemas.memory import Head
from streams.clients.publisher import ConversationPublisher
from streams.errors import UsageError
from streams.settings import Settings

FIELDS: dict[str, Any] = {"user_id": "u1", "conversation_id": "c1", "role": "user", "content": "Hello."}
LOOP: list[Any] = []
LOOP.append(LOOP)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.just(object()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def checked(event: Any) -> dict[str, Any]:
    """The body that would go out."""
    _, value = ConversationPublisher(Settings())._checked(event)
    body: dict[str, Any] = msgspec.json.decode(value)
    return body


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        pytest.param("content", 5, "Expected `str`, got `int`", id="a number"),
        pytest.param("content", b"Hello.", "Expected text, got `bytes`", id="bytes"),
        pytest.param("content", object(), "object is unsupported", id="no JSON"),
        pytest.param("content", LOOP, "recursion", id="a loop"),
        pytest.param("content", "half \ud800", "surrogates", id="half a character"),
        pytest.param("occurred_at", "yesterday", "Invalid RFC3339 encoded datetime", id="a word for a time"),
        pytest.param("occurred_at", date(2025, 3, 1), "Invalid RFC3339 encoded datetime", id="a day for a time"),
        pytest.param("user_id", None, "Expected `str`, got `null`", id="nobody"),
        pytest.param("user_id", "", "Expected `str` of length >= 1", id="an empty name"),
        pytest.param("tenant", 7, "Expected `str`, got `int`", id="a number for a tenant"),
    ],
)
def test_a_field_of_a_wrong_type_is_refused_by_name(field: str, value: Any, said: str) -> None:
    """One kind of error, whatever is wrong, for typed events and dictionaries alike."""
    for event in (Turn(**FIELDS | {field: value}), {"type": "turn", **FIELDS, field: value}):
        with pytest.raises(UsageError) as refused:
            checked(event)
        assert said in str(refused.value)
        assert f"at `$.{field}`" in str(refused.value)
        assert "docs/events.md" in refused.value.next_step


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(None, id="nothing"),
        pytest.param(5, id="a number"),
        pytest.param("{}", id="text"),
        pytest.param(object(), id="an object"),
        pytest.param({}, id="an empty dictionary"),
        pytest.param({"type": "turn", 5: object()}, id="a name that is none"),
        pytest.param(FIELDS, id="no type"),
        pytest.param(Head(tenant="t", user_id="u", generation=1), id="another struct"),
    ],
)
def test_what_is_no_event_is_refused_in_the_same_way(event: Any) -> None:
    """Also what is not even a dictionary."""
    with pytest.raises(UsageError):
        checked(event)


@given(st.dictionaries(st.sampled_from(["type", *FIELDS, "tenant", "event_id", "occurred_at", "v", "x"]), ANYTHING))
def test_no_other_error_comes_out(fields: dict[str, Any]) -> None:
    """Whatever stands in a dictionary: it is an event or wrong use."""
    try:
        checked({"type": "turn", **FIELDS, **fields})
    except UsageError:
        return


def test_every_form_of_an_event_is_taken() -> None:
    """A typed event, any mapping, JSON; a time may be written as text."""
    at = "2025-03-01T10:00:00Z"
    body = {"type": "turn", **FIELDS, "occurred_at": at}
    assert checked(Turn(**FIELDS, occurred_at=datetime(2025, 3, 1, 10, tzinfo=UTC)))["occurred_at"] == at
    assert checked(Turn(**FIELDS | {"occurred_at": at}))["occurred_at"] == at
    assert checked(body) == checked(types.MappingProxyType(body)) == checked(msgspec.json.encode(body)) == body
