"""The glossary names every word of the enums that others see."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from schemas.candidate import Lane
from schemas.memory import Op
from schemas.outcome import Outcome
from topology.graph import StageName

PAGE = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text()


@pytest.mark.parametrize(
    ("word", "values"), [("change", Op), ("outcome", Outcome), ("lane", Lane), ("stage", StageName)]
)
def test_a_word_with_fixed_values_names_them_all(word: str, values: type[StrEnum]) -> None:
    """A new one changes the page in the same commit."""
    (meaning,) = re.findall(rf"^\| {word} \| (.*) \|$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", meaning)) == {value.value for value in values}
