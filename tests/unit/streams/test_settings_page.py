"""The page of all settings says what is so."""

import dataclasses
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.settings import Group, Settings
from streams.settings_page import limits, meanings, page

FIELDS = [
    pytest.param(getattr(Settings(), group.name), f, id=f"{group.name}.{f.name}")
    for group in dataclasses.fields(Settings)
    for f in dataclasses.fields(getattr(Settings(), group.name))
]


def test_the_page_in_the_repository_is_the_one_that_the_settings_make() -> None:
    """Whoever changes a setting writes the page anew: python -m streams.settings_page > docs/settings.md."""
    assert (Path(__file__).parents[3] / "docs" / "settings.md").read_text() == page()


@pytest.mark.parametrize(("group", "field"), FIELDS)
def test_every_setting_has_a_meaning(group: Group, field: "dataclasses.Field[Any]") -> None:
    """No setting is named without a word on it."""
    assert meanings(type(group))[field.name]


@pytest.mark.parametrize(("group", "field"), [p for p in FIELDS if limits(p.values[1])])  # type: ignore[arg-type]
def test_the_limits_on_the_page_are_those_that_hold(group: Group, field: "dataclasses.Field[Any]") -> None:
    """What stands at a limit is taken, where it counts in, and what stands behind it is refused."""

    def value(number: float) -> Any:
        return timedelta(seconds=number) if field.type is timedelta else field.type(number)  # type: ignore[operator]

    bounds = limits(field)
    assert bounds is not None
    least, most = bounds
    step = 1 if field.type is int else 1e-6
    dataclasses.replace(group, **{field.name: value(least + step if field.type is float else least)})
    with pytest.raises(ValueError, match=field.name):
        dataclasses.replace(group, **{field.name: value(least if field.type is float else least - step)})
    if most != math.inf:
        dataclasses.replace(group, **{field.name: value(most)})
        with pytest.raises(ValueError, match=field.name):
            dataclasses.replace(group, **{field.name: value(most + step)})
