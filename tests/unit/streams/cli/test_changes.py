"""Showing changes, one a line."""

import msgspec
import pytest

from schemas.golden.samples import ADDED, ERASED, SUPERSEDED
from streams.cli.changes import change_line, parse_start
from streams.errors import UsageError


def test_places_to_start_are_read() -> None:
    """The two words and places per partition are understood."""
    assert parse_start("beginning") == "beginning"
    assert parse_start("end") == "end"
    assert parse_start("0:120, 3:98") == {0: 120, 3: 98}


@pytest.mark.parametrize("text", ["", "middle", "0", "0:", ":1", "0:1,", "0:-1", "0:1;1:2", "٣:1"])
def test_other_places_are_wrong_use(text: str) -> None:
    """What is no place is refused with an example."""
    with pytest.raises(UsageError) as refused:
        parse_start(text)
    assert "0:120" in refused.value.next_step


@pytest.mark.parametrize("change", [ADDED, SUPERSEDED, ERASED])
def test_a_line_says_what_happened_to_whom(change: object) -> None:
    """Operation, user and revision stand on one line, whatever the change."""
    assert isinstance(change, type(ADDED))
    line = change_line(change).plain
    assert line.startswith(change.op)
    assert f"{change.tenant}/{change.user_id} r{change.revision}" in line
    assert "\n" not in line


def test_long_texts_are_cut_and_do_not_act_on_the_terminal() -> None:
    """A text of many lines with escape sequences becomes one short harmless line."""
    text = "first\nsecond \x1b[31m" + "x" * 500
    line = change_line(msgspec.structs.replace(ADDED, text=text)).plain
    assert "first second" in line
    assert "\x1b" not in line
    assert len(line) < 200


def test_an_erased_memory_shows_no_text() -> None:
    """Where there is no content any more, the line says so."""
    assert "(no text)" in change_line(ERASED).plain
