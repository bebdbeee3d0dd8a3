"""The page on commands and the commands themselves say the same."""

import re
from pathlib import Path

import click
import pytest

from streams.cli import context
from streams.cli.main import main

PAGE = (Path(__file__).parents[4] / "docs" / "commands.md").read_text()
DOCUMENTED_CODES = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}


def tree(command: click.Command = main, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Every command by its words, groups too."""
    found = {path: command}
    if isinstance(command, click.Group):
        at = click.Context(command)
        for name in command.list_commands(at):
            inner = command.get_command(at, name)
            assert inner is not None
            found |= tree(inner, (*path, name))
    return found


COMMANDS = tree()
RUN_ALONE = {
    path for path, command in COMMANDS.items() if not isinstance(command, click.Group) or command.invoke_without_command
}


def named(text: str) -> set[tuple[str, ...]]:
    """The commands that a text names; words behind one, such as its arguments, do not count."""
    calls = [tuple(call.split()) for call in re.findall(r"`memstream ((?:[a-z]+ ?)+)", text)]
    return {next((call[:n] for n in range(len(call), 0, -1) if call[:n] in COMMANDS), call) for call in calls}


def test_the_first_table_has_every_command_and_no_other() -> None:
    """A command that comes, goes or changes its name changes the page in the same commit."""
    assert named(PAGE.partition("## ")[0]) == RUN_ALONE


def test_no_page_names_a_command_that_is_not_there() -> None:
    """A mention further down is one that can be run, or a group of such."""
    assert named(PAGE) <= COMMANDS.keys()


def test_the_table_of_exit_codes_has_all_that_commands_leave_with() -> None:
    """Success, and each constant that commands use."""
    constants = {value for name, value in vars(context).items() if name.startswith("EXIT_")}
    assert {0, *constants} == DOCUMENTED_CODES


@pytest.mark.parametrize("path", sorted(RUN_ALONE), ids=" ".join)
def test_every_command_says_its_exit_codes(path: tuple[str, ...]) -> None:
    """Its own help does, or its group's for all in it; each is a documented one, and success is among them."""
    said = [re.findall(r"Exit codes: (.*)", COMMANDS[at].help or "", re.DOTALL) for at in (path, path[:-1])]
    (text,) = said[0] or said[1]
    codes = {int(code) for code in re.findall(r"(?:^|[;,]) ?\s*(\d+) ", text)}
    assert 0 in codes
    assert codes <= DOCUMENTED_CODES
