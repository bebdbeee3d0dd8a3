"""`memstream stack` where there is nothing to start."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli.stack import stack


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty home folder."""
    monkeypatch.setenv("MEMSTREAM_HOME", str(tmp_path))
    return tmp_path


def run(*words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(stack, list(words))


@pytest.mark.usefixtures("home")
def test_no_stack_is_told_by_exit_code_3() -> None:
    """Status says down, how to start one, and leaves with 3."""
    result = run("status")

    assert (result.exit_code, result.stdout) == (3, "down\n")
    assert "next: run: memstream stack up" in result.stderr


@pytest.mark.usefixtures("home")
def test_no_stack_as_json() -> None:
    """The JSON of no stack has every documented key, null but for the state."""
    result = run("status", "--json")

    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "state": "down",
        "mode": None,
        "kafka": None,
        "redis": None,
        "store": None,
        "api": None,
    }


@pytest.mark.usefixtures("home")
def test_stopping_nothing_is_no_error() -> None:
    """Down where no stack is says so and succeeds."""
    result = run("down")

    assert (result.exit_code, result.stdout) == (0, "there is no stack\n")


@pytest.mark.usefixtures("home")
def test_logs_of_nothing_are_an_error() -> None:
    """There is nothing to talk to (3); cause and next step stand on standard error, nothing on standard output."""
    result = run("logs")

    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines()[0].startswith("error: ")
    assert result.stderr.splitlines()[1].startswith("next: ")


def test_a_damaged_state_file_is_an_error(home: Path) -> None:
    """A file that cannot be read ends in two lines, not in a traceback."""
    (home / "full").mkdir()
    (home / "full" / "stack.json").write_text("?")

    result = run("status")

    assert result.exit_code == 1
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize("command", ["up", "down", "status", "logs"])
def test_help_has_an_example_and_exit_codes(command: str) -> None:
    """Every command's help shows how it is used and what its exit codes mean."""
    result = run(command, "--help")

    assert result.exit_code == 0
    assert f"Example:\n    memstream stack {command}" in result.stdout
    assert "Exit codes: 0 " in result.stdout


def test_a_wrong_mode_is_wrong_usage() -> None:
    """Usage errors leave with 2."""
    assert run("up", "--mode", "heavy").exit_code == 2
