"""Ids are derived, separate their parts and stay the same for ever."""

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids
from schemas.ids import UserKey

TENANTS = st.text(st.characters(codec="utf-8", exclude_characters="/", exclude_categories=["Cc", "Cs"]), min_size=1)
TEXTS = st.text(st.characters(codec="utf-8"))
USERS = st.builds(UserKey, TENANTS, TEXTS)
PARTS = st.lists(TEXTS | st.integers(0, 9) | st.none() | st.lists(TEXTS, max_size=2), max_size=3)


@given(st.tuples(TEXTS, PARTS), st.tuples(TEXTS, PARTS))
def test_ids_are_equal_exactly_when_their_parts_are(
    one: tuple[str, list[object]], other: tuple[str, list[object]]
) -> None:
    """No two different lists of parts give the same id, however their texts are cut."""
    assert (ids.derive(one[0], *one[1]) == ids.derive(other[0], *other[1])) == (one == other)  # type: ignore[arg-type]


@given(TEXTS, TEXTS)
def test_where_parts_are_cut_matters(left: str, right: str) -> None:
    """("a", "bc") and ("ab", "c") are two ids."""
    if left:
        assert ids.derive("turn", left, right) != ids.derive("turn", left[:-1], left[-1] + right)


def test_ids_of_the_first_release_stay() -> None:
    """An id that changed would make every replay a different memory."""
    maria = UserKey("acme", "maria")
    assert ids.turn_memory_id(maria, "evt-1") == "fb5ea207-25f7-5c00-bfb1-6679a72e96f5"
    assert ids.fact_memory_id(maria, "home: Berlin", ["evt-1"]) == "7dc90c53-5113-5a14-8596-67a1f7c3d3dd"
    assert ids.window_id(maria, "c1", ["evt-1"]) == "cf3a3365-a9d5-5ce9-8941-a2da59960a79"
    assert ids.change_id("m", "added", "evt-1", 0) == "4d88b55c-b2b9-5ff5-ab58-7b72dbe65dcd"
    assert ids.idle_event_id(maria, "c1", 41) == "01e0d41d-1ada-583d-93a1-99007f3dcacd"
    assert ids.origin_event_id(2, 41) == "2-41"


def test_after_a_forget_the_same_cause_is_another_change() -> None:
    """What was erased and comes again is announced again."""
    assert ids.change_id("m", "added", "evt-1", 0) != ids.change_id("m", "added", "evt-1", 1)


@given(USERS)
def test_user_keys_are_read_back(user: UserKey) -> None:
    """A key names one user, slashes in the user's own name included."""
    assert UserKey.parse(str(user)) == user


def test_a_key_without_slash_names_nobody() -> None:
    """Keys of other forms are refused, so that record can reroute such an event."""
    with pytest.raises(ValueError, match="not a user key"):
        UserKey.parse("maria")


@given(PARTS)
def test_ids_are_uuid5_of_the_canonical_array(parts: list[object]) -> None:
    """The quick way gives what the standard library gives: RFC 9562, version 5."""
    canonical = msgspec.json.encode(("turn", *parts)).decode()

    assert ids.derive("turn", *parts) == str(uuid.uuid5(ids.NAMESPACE, canonical))  # type: ignore[arg-type]
