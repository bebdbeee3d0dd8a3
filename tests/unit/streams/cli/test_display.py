"""How results look to people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.display import counted, duration, plain, printable, shortened


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (3661, "1 h 1 min"), (49 * 3600, "2 days 1 h")],
)
def test_a_span_of_time_has_its_units(seconds: float, text: str) -> None:
    """Seconds become the one or two units that say it best."""
    assert duration(seconds) == text


def test_one_is_not_many() -> None:
    """Whatever is counted is named as people name so many of it."""
    said = [counted(0, "event"), counted(1, "event"), counted(20_000, "event"), counted(2, "memory", "memories")]
    assert said == ["0 events", "1 event", "20,000 events", "2 memories"]


@given(st.text(max_size=300), st.integers(1, 120))
def test_a_shortened_text_is_one_short_printable_line(text: str, characters: int) -> None:
    """Whatever people write, what is shown fits, stays on its line and steers no terminal."""
    shown = shortened(text, characters=characters)
    assert len(shown) <= characters
    assert shown.isprintable()


@given(st.text(alphabet="abc äöü住 ", max_size=50))
def test_printable_text_is_left_as_it_is(text: str) -> None:
    """Only what would not show is escaped."""
    assert printable(text) == text


def test_text_of_others_is_no_markup() -> None:
    """Brackets stay brackets."""
    assert plain("[red]x[/]").plain == "[red]x[/]"
