"""Child commands that are waited for."""

import os
import sys
import time
from pathlib import Path

import pytest

from infra.native import processes
from infra.native.commands import CommandError, run


def test_lines_are_shown_as_they_come_and_returned() -> None:
    """Every line of standard output is shown and returned; standard error is neither, unless asked for."""
    code = "import sys; print(input()); print('two'); sys.stdout.flush(); print('three', file=sys.stderr)"
    shown: list[str] = []

    assert run([sys.executable, "-c", code], given="one\n", on_line=shown.append) == ["one", "two"]
    assert shown == ["one", "two"]
    assert run([sys.executable, "-c", code], given="one\n", with_errors=True) == ["one", "two", "three"]


def test_a_failed_command_carries_what_it_last_said() -> None:
    """The error holds the end of standard error, where the cause stands."""
    code = "import sys; sys.exit('\\n'.join(f'line {n}' for n in range(100)))"

    with pytest.raises(CommandError) as raised:
        run([sys.executable, "-c", code])

    assert str(raised.value).splitlines()[-1] == "line 99"
    assert len(str(raised.value).splitlines()) < 20


def test_a_failed_command_that_said_nothing_carries_its_status() -> None:
    """An error is never empty."""
    with pytest.raises(CommandError, match="exit status 7"):
        run([sys.executable, "-c", "raise SystemExit(7)"])


def test_a_missing_command_is_an_error_of_ours() -> None:
    """A command that does not exist is told like one that failed."""
    with pytest.raises(CommandError, match="no-such-command"):
        run(["no-such-command"])


def test_an_interrupted_command_is_killed_with_all_it_started() -> None:
    """When the caller is interrupted, neither the command nor its children go on."""
    code = (
        "import os, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(os.getpid(), child.pid, flush=True); time.sleep(60)"
    )
    seen: list[int] = []

    def interrupt(line: str) -> None:
        seen.extend(map(int, line.split()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", code], on_line=interrupt)

    since = time.monotonic()
    while any(processes.started(pid) for pid in seen) and time.monotonic() - since < 10:
        time.sleep(0.02)
    assert [processes.started(pid) for pid in seen] == [None, None]


def test_folder_and_environment_are_passed_on(tmp_path: Path) -> None:
    """The command runs where and as it was told."""
    code = "import os; print(os.getcwd()); print(os.environ['WORD'])"

    lines = run([sys.executable, "-c", code], folder=tmp_path, env={**os.environ, "WORD": "hello"})

    assert lines == [str(tmp_path), "hello"]
