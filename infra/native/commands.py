"""Child commands that are waited for: their lines as they come, their end when we end."""

import os
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_TAIL_LINES = 12


def _ignore(line: str) -> None:
    """Drop a line."""


class CommandError(Exception):
    """A child command ended with an error; the text is the last it said."""


def run(
    command: Sequence[object],
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    given: str = "",
    on_line: Callable[[str], None] = _ignore,
    with_errors: bool = False,
) -> list[str]:
    """Run a command to its end and return the lines of its standard output.

    The command and all it starts are killed when the caller is interrupted.

    Args:
        command: The command and its arguments, each as its str() reads.
        env: Its environment; ours when None.
        folder: Where it runs.
        given: Its standard input.
        on_line: Called with every line as it comes.
        with_errors: Whether lines of standard error count as output too.

    Raises:
        CommandError: It could not be started, or ended with an error.
    """
    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile("w+") as errors:
        stdin.write(given)
        stdin.seek(0)
        try:
            child = subprocess.Popen(
                [str(word) for word in command],
                env=env,
                cwd=folder,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if with_errors else errors,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"{command[0]}: {error.strerror}") from error
        lines: list[str] = []
        try:
            assert child.stdout is not None
            for line in child.stdout:
                lines.append(line.rstrip())
                on_line(lines[-1])
            failed = child.wait() != 0
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        finally:
            if child.stdout:
                child.stdout.close()
        if failed:
            errors.seek(0)
            said = deque((line.rstrip() for line in errors), maxlen=_TAIL_LINES) or lines[-_TAIL_LINES:]
            raise CommandError("\n".join(said) or f"exit status {child.returncode}")
        return lines
