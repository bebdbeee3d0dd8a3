"""How results look to people: consoles, spans of time, text of others."""

import os
import sys
from typing import NoReturn

from rich.console import Console
from rich.text import Text

_PIPE_WIDTH = 1000


class _ResultConsole(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave as every command does when its reader has gone (`| head`): nothing is wrong. Rich would exit with 1."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BrokenPipeError


def result_console() -> Console:
    """Standard output: as wide as the terminal; in a pipe, as wide as a table needs, and without colours."""
    if sys.stdout.isatty():
        return _ResultConsole()
    return _ResultConsole(width=_PIPE_WIDTH, no_color=True, force_terminal=False)


def progress_console() -> Console:
    """Standard error; whoever shows something live asks it `is_terminal` first."""
    return Console(stderr=True)


def duration(seconds: float) -> str:
    """A span of time in one or two units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def counted(count: int, one: str, many: str = "") -> str:
    """How many of something, as people say it: `1 event`, `20,000 events`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def shortened(text: str, *, characters: int = 100) -> str:
    """A text on one line, cut where it gets too long, with what could act on a terminal escaped."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= characters else line[: characters - 1] + "…"


def printable(text: str) -> str:
    """A text with an escape for every character that would not show, such as those that steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def plain(text: str) -> Text:
    """A text of others in a table: brackets in it are no markup."""
    return Text(printable(text))
