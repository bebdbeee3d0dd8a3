"""Listing and showing dead letters."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcome import Reason
from streams.cli.dlq import chosen, dlq, text_of
from streams.clients.dead_letters import Heading, LetterBook, LetterPlace

KAFKA = ["--bootstrap-servers", "127.0.0.1:1"]
START = datetime(2025, 3, 1, tzinfo=UTC)


def book() -> LetterBook:
    """Three open letters and one that was redriven; later ones failed earlier."""
    letters = LetterBook()
    failed = [("record", Reason.UNDECODABLE), ("extract", Reason.UNDECODABLE), ("record", Reason.OVERSIZE)]
    for number, (stage, reason) in enumerate([*failed, ("record", Reason.POISON)]):
        place = LetterPlace(stage, "conversation.events.v1", 0, number)
        heading = Heading(
            name=str(place),
            stage=stage,
            topic=place.topic,
            partition=0,
            offset=number,
            reason=reason,
            error="",
            attempts=1,
            size_bytes=0,
            failed_at=START - timedelta(seconds=number),
        )
        (letters.redriven if reason is Reason.POISON else letters.open)[place] = heading
    return letters


def test_options_choose_among_open_letters() -> None:
    """Stage and reason narrow the choice; redriven letters are left out unless asked for; the oldest comes first."""
    assert [h.offset for h in chosen(book(), None, None)] == [2, 1, 0]
    assert [h.offset for h in chosen(book(), "record", None)] == [2, 0]
    assert [h.offset for h in chosen(book(), None, "undecodable")] == [1, 0]
    assert [h.offset for h in chosen(book(), "record", "undecodable")] == [0]
    assert [h.offset for h in chosen(book(), None, None, with_redriven=True)] == [3, 2, 1, 0]


@given(st.binary(max_size=200))
def test_any_bytes_can_be_shown(raw: bytes) -> None:
    """Whatever stands in a letter, what is printed is text that does nothing to a terminal."""
    assert all(c.isprintable() or c == "\n" for c in text_of(raw))


def test_text_stays_text() -> None:
    """What is UTF-8 is shown as such, and what is not shows its bytes."""
    assert text_of("搬到 Köln".encode()) == "搬到 Köln"
    assert text_of(b"a\xff\x1b") == "a\\xff\\x1b"
    assert text_of(None) == "(none)"


@pytest.mark.parametrize(
    "arguments",
    [
        ["redrive"],
        ["redrive", "--all", "record/conversation.events/0/1"],
        ["redrive", "record/conversation.events/0/1", "--stage", "record"],
        ["redrive", "nonsense"],
        ["show", "nonsense"],
        ["list", "--stage", "nobody"],
        ["list", "--reason", "none"],
        ["list", "--reason", "duplicate"],
    ],
)
def test_wrong_use_exits_with_2(arguments: list[str]) -> None:
    """Unclear or wrong choices are refused before Kafka is asked."""
    assert CliRunner().invoke(dlq, [*arguments, *KAFKA]).exit_code == 2


def test_only_reasons_that_letters_have_can_be_asked_for() -> None:
    """Whoever types another one is told which there are, instead of that there are no such letters."""
    said = CliRunner().invoke(dlq, ["list", "--reason", "duplicate", *KAFKA]).output
    assert "'undecodable', 'unsupported_version', 'oversize', 'poison', 'crash', 'unreadable_window'" in said
