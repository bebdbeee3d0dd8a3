"""Searching from the command line."""

from datetime import UTC, datetime
from io import StringIO

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from streams.cli.search import MomentType, results_table, search
from streams.clients.reader import SearchResult

KAFKA = ["--bootstrap-servers", "127.0.0.1:1"]


@pytest.mark.parametrize(
    ("text", "hour"),
    [("2025-03-01T10:00:00Z", 10), ("2025-03-01T10:00:00", 10), ("2025-03-01T11:00:00+01:00", 10)],
)
def test_times_are_utc(text: str, hour: int) -> None:
    """Times with and without offset become the same moment in UTC."""
    assert MomentType().convert(text, None, None) == datetime(2025, 3, 1, hour, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2025-03-01", "2025-13-01T00:00:00Z", "0001-01-01T00:00:00+01:00"])
def test_other_times_are_refused(text: str) -> None:
    """What is no moment in UTC is wrong use."""
    with pytest.raises(click.BadParameter):
        MomentType().convert(text, None, None)


@pytest.mark.parametrize("options", [["--valid-at", "soon"], ["--known-at", "soon"], ["--limit", "0"]])
def test_wrong_options_exit_with_2(options: list[str]) -> None:
    """Wrong use is told apart from failure by its exit code."""
    assert CliRunner().invoke(search, ["u1", "query", *options, *KAFKA]).exit_code == 2


def test_brackets_in_a_text_are_shown_as_they_are() -> None:
    """A memory's text is never taken for markup."""
    result = SearchResult(
        memory_id="m",
        kind="turn",
        text="see [bold]this[/bold] and [/]",
        score=0.5,
        source_event_ids=[],
        conversation_id=None,
        name="[red]Maria",
        valid_from=datetime(2025, 3, 1, tzinfo=UTC),
        valid_to=None,
        revision=1,
    )
    output = StringIO()
    Console(file=output, width=200).print(results_table([result]))
    assert "see [bold]this[/bold] and [/]" in output.getvalue()
    assert "[red]Maria" in output.getvalue()
