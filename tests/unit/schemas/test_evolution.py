"""Laws of upcasting, shown on a toy type that has gone through four versions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.evolution import CURRENT_VERSIONS, UPCASTERS, FutureVersionError, upcast


def to_2(body: dict[str, Any]) -> dict[str, Any]:
    """`name` became `given_name` and `family_name`."""
    given_name, _, family_name = body["name"].partition(" ")
    return {"type": "toy", "given_name": given_name, "family_name": family_name, "size": body.get("size", "s")}


def to_3(body: dict[str, Any]) -> dict[str, Any]:
    """`size` became a number."""
    return {**body, "size": {"s": 1, "m": 2, "l": 3}[body["size"]]}


def to_4(body: dict[str, Any]) -> dict[str, Any]:
    """`size` became a list of sizes."""
    return {**{k: v for k, v in body.items() if k != "size"}, "sizes": [body["size"]]}


TOY: dict[str, Any] = {"current": {"toy": 4}, "upcasters": {("toy", 1): to_2, ("toy", 2): to_3, ("toy", 3): to_4}}
STEPS = [to_2, to_3, to_4]
FIRST_BODIES = st.fixed_dictionaries(
    {"type": st.just("toy"), "name": st.text()}, optional={"size": st.sampled_from("sml"), "v": st.just(1)}
)


@given(FIRST_BODIES, st.integers(1, 4))
def test_upcasting_from_any_version_ends_at_the_same_record(body: dict[str, Any], version: int) -> None:
    """A record upcast by hand to some version, and from there by us, is the record upcast by us from the first one."""
    on_the_way = body
    for step in STEPS[: version - 1]:
        on_the_way = step(on_the_way)
    from_there = upcast({**on_the_way, "v": version}, **TOY)
    assert from_there == upcast(body, **TOY)
    assert from_there["v"] == 4


@given(FIRST_BODIES)
def test_upcasting_is_idempotent_and_leaves_its_input_alone(body: dict[str, Any]) -> None:
    """A current record comes back as it is, and upcasting changes no body in place."""
    before = dict(body)
    current = upcast(body, **TOY)
    assert upcast(current, **TOY) is current
    assert body == before


def test_a_body_without_version_is_version_one() -> None:
    """Publishers need not know of versions."""
    assert upcast({"type": "toy", "name": "Maria K"}, **TOY) == {
        "type": "toy",
        "v": 4,
        "given_name": "Maria",
        "family_name": "K",
        "sizes": [1],
    }


@given(st.integers(min_value=5))
def test_versions_to_come_are_not_guessed_at(version: int) -> None:
    """A newer version than ours is refused as such, and not as something broken."""
    with pytest.raises(FutureVersionError, match="newer than this worker knows"):
        upcast({"type": "toy", "v": version}, **TOY)


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None, []])
def test_what_is_no_version_is_refused(version: object) -> None:
    """Versions are whole numbers from 1; nothing else is taken for one."""
    with pytest.raises(ValueError, match="is no version") as caught:
        upcast({"type": "toy", "v": version}, **TOY)
    assert not isinstance(caught.value, FutureVersionError)


@pytest.mark.parametrize("tag", ["teddy", None, 1, ["toy"]])
def test_types_that_are_not_ours_are_refused(tag: object) -> None:
    """A body says which type it is, and it must be a known one."""
    with pytest.raises(ValueError, match="unknown type"):
        upcast({"type": tag}, **TOY)


def test_every_old_version_has_an_upcaster() -> None:
    """From each version of each type a way leads to the current one, and there is no upcaster without a use."""
    assert set(UPCASTERS) == {
        (tag, version) for tag, current in CURRENT_VERSIONS.items() for version in range(1, current)
    }
