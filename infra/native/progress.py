"""How long work tells that it goes on: live on a terminal, a line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import Progress as LiveProgress
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

LINE_EVERY_S = 10.0
_DETAIL_CHARACTERS = 70


class Step(Protocol):
    """One piece of long work while it runs."""

    def say(self, detail: str) -> None:
        """Show the newest detail; it replaces the one before."""


class Progress(Protocol):
    """Shows steps, one after the other."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Show a step while the block runs, and that it is done when the block ends without an error."""

    def note(self, line: str) -> None:
        """Show a line that stays."""


class Silent:
    """Shows nothing: for libraries and tests."""

    @contextmanager
    def step(self, title: str) -> Iterator["Silent"]:  # noqa: ARG002 the protocol's
        """Run the block."""
        yield self

    def say(self, detail: str) -> None:
        """Drop the detail."""

    def note(self, line: str) -> None:
        """Drop the line."""


class Lines:
    """Writes a line when a step begins, every ten seconds, and when it ends: for logs and pipes."""

    def __init__(self, output: TextIO, every_s: float = LINE_EVERY_S) -> None:
        self._output = output
        self._every_s = every_s
        self._detail = ""

    @contextmanager
    def step(self, title: str) -> Iterator["Lines"]:
        """Run the block while a thread writes how far it is."""
        self._detail = ""
        since = time.monotonic()
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(self._every_s):
                self.note(f"{title}: {time.monotonic() - since:.0f} s, {self._detail or 'working'}")

        self.note(f"{title} ...")
        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield self
        finally:
            ended.set()
            ticker.join()
        self.note(f"{title}: done in {time.monotonic() - since:.1f} s")

    def say(self, detail: str) -> None:
        """Keep the detail for the next line."""
        self._detail = detail

    def note(self, line: str) -> None:
        """Write the line."""
        self._output.write(line + "\n")
        self._output.flush()


class Live:
    """Shows a spinner, the elapsed time and the newest detail on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run the block under a spinner, which a one-line summary replaces."""
        since = time.monotonic()
        with LiveProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", style="dim", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
            transient=True,
        ) as live:
            yield _LiveStep(live, title)
        self._console.print(f"[green]done[/] {title} [dim]{time.monotonic() - since:.1f} s[/]", highlight=False)

    def note(self, line: str) -> None:
        """Print the line above the spinner."""
        self._console.print(line, markup=False, highlight=False)


class _LiveStep:
    def __init__(self, live: LiveProgress, title: str) -> None:
        self._live = live
        self._task = live.add_task(title, total=None, detail="")

    def say(self, detail: str) -> None:
        self._live.update(self._task, detail=detail[:_DETAIL_CHARACTERS])


def on_stderr() -> Progress:
    """Return the progress display that fits standard error; standard output stays free for results."""
    return Live(Console(stderr=True)) if sys.stderr.isatty() else Lines(sys.stderr)
