"""What `--help` shows."""

import click
import pytest
from click.testing import CliRunner

from streams.cli.main import COMMANDS, main


def _paths() -> list[list[str]]:
    paths: list[list[str]] = [[]]
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        paths.append([name])
        if isinstance(command, click.Group):
            paths += [[name, inner] for inner in command.list_commands(click.Context(command))]
    return paths


@pytest.mark.parametrize("path", _paths(), ids=" ".join)
def test_every_command_has_readable_help(path: list[str]) -> None:
    """Help names exit codes or examples on lines of their own, and shows no control characters."""
    shown = CliRunner().invoke(main, [*path, "--help"])

    assert shown.exit_code == 0
    assert "\\b" not in shown.output
    assert "\b" not in shown.output
    assert "Usage:" in shown.output
