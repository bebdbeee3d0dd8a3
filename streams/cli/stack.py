"""`memstream stack`: start, stop and look at the native stack."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn

import click

from infra.native import state
from infra.native.errors import StackError, StackUnknownError
from infra.native.progress import on_stderr
from infra.native.stack import PartStatus, Stack
from infra.native.state import Mode, StackState
from infra.native.toolchains import SOURCES, Source
from streams.cli.context import EXIT_INTERRUPTED, EXIT_NOTHING_THERE, fail_of_stack, json_option, print_json

_FOLLOW_EVERY_S = 0.3


@click.group()
def stack() -> None:
    """Start, stop and look at Kafka, Redis and the store as native processes.

    \b
    One stack can be up per MEMSTREAM_HOME. Its data is kept between `down` and `up`.
    Programs are fetched once into MEMSTREAM_CACHE.

    \b
    Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not up (status), no stack (logs); 130 interrupted.
    """


@stack.command()
@click.option("--mode", type=click.Choice(state.MODES), default="full", show_default=True, help="light: no Weaviate.")
@click.option(
    "--toolchains",
    type=click.Choice(SOURCES),
    envvar="MEMSTREAM_TOOLCHAINS",
    default="auto",
    show_default=True,
    show_envvar=True,
    help="Where Java, Go and redis-server come from.",
)
@json_option
def up(mode: Mode, toolchains: Source, *, as_json: bool) -> None:
    """Start the stack and wait until every part answers.

    The first start fetches Kafka and builds Weaviate, which takes minutes; later ones take seconds. A stack of
    the same mode that is up is left as it is, and parts of it that died are started again; one of the other mode is
    left as it is too, and the start refused: each mode has data of its own.

    \b
    Example:
      memstream stack up --mode light

    \b
    Exit codes: 0 up; 1 failed, nothing was left running; 2 wrong usage, or a stack of the other mode is up;
    130 interrupted, nothing was left running.
    """
    with _reported():
        chosen = Stack(mode, toolchains=toolchains)
        now = chosen.up(on_stderr())
        if as_json:
            print_json(now)
            return
        _print_parts(now, chosen.parts())


@stack.command()
@click.option("--mode", type=click.Choice(state.MODES), help="Which one; else the one that is up, or was last.")
@click.option("--wipe", is_flag=True, help="Also delete its data, logs and state. This cannot be undone.")
def down(mode: Mode | None, *, wipe: bool) -> None:
    """Stop the stack; its data is kept unless --wipe is given.

    \b
    Example:
      memstream stack down

    \b
    Exit codes: 0 nothing runs any more; 1 failed; 2 wrong usage.
    """
    with _reported():
        known = state.find()
        chosen = mode or (known.mode if known else None)
        if chosen is None:
            click.echo("there is no stack")
            return
        Stack(chosen).down(wipe=wipe, progress=on_stderr())
        click.echo(f"the {chosen} stack is down, its data is {'deleted' if wipe else 'kept'}")


@stack.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show whether a stack is up, where its parts are and whether they answer.

    \b
    Example:
      memstream stack status --json

    \b
    Exit codes: 0 up, and without --json every part answers; 1 failed; 2 wrong usage; 3 not up, or a part is not.
    """
    with _reported():
        now = state.find() or StackState()
        if as_json:
            print_json(now)
            sys.exit(0 if now.state == "up" else EXIT_NOTHING_THERE)
        if now.mode is None or now.state == "down":
            click.echo("down")
            click.echo("next: run: memstream stack up", err=True)
            sys.exit(EXIT_NOTHING_THERE)
        parts = Stack(now.mode).parts()
        _print_parts(now, parts)
        if any(part.condition != "ready" for part in parts):
            click.echo(
                "next: run: memstream stack up, which starts what is dead; memstream stack logs tells why", err=True
            )
            sys.exit(EXIT_NOTHING_THERE)


@stack.command()
@click.argument("part", required=False)
@click.option("--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--lines", default=50, show_default=True, type=click.IntRange(min=0), help="How many last lines.")
def logs(part: str | None, *, follow: bool, lines: int) -> None:
    """Show what the parts of the stack logged since their last start: PART, else all of them.

    \b
    Example:
      memstream stack logs kafka --follow

    \b
    Exit codes: 0 shown; 1 failed; 2 wrong usage, or no such part; 3 there is no stack; 130 interrupted.
    """
    with _reported():
        known = state.find()
        if known is None or known.mode is None:
            raise StackUnknownError("there is no stack whose logs could be shown", "run: memstream stack up")
        chosen = Stack(known.mode)
        paths = [chosen.logs(part)] if part else [status.log for status in chosen.parts()]
        tails = [_Tail(path, f"{path.stem}: " if len(paths) > 1 else "") for path in paths]
        for tail in tails:
            tail.print_new(last=lines)
        while follow:
            time.sleep(_FOLLOW_EVERY_S)
            for tail in tails:
                tail.print_new()


class _Tail:
    """The end of a log file, which is replaced by a new one when its part is started again."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._file: BinaryIO | None = None
        self._begun = b""  # a line whose end is not written yet

    def print_new(self, last: int | None = None) -> None:
        """Print the lines that came since, or only the last of them."""
        lines = self._read()
        # Our open file keeps its inode from being used again, so another inode is another file.
        if self._path.exists() and (
            self._file is None or self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        ):
            if self._file:
                self._file.close()
            self._file = self._path.open("rb")
            self._begun = b""
            lines += self._read()
        for line in lines if last is None else lines[len(lines) - min(last, len(lines)) :]:
            click.echo(self._prefix + line.decode(errors="replace"))

    def _read(self) -> list[bytes]:
        if self._file is None:
            return []
        *lines, self._begun = (self._begun + self._file.read()).split(b"\n")
        return lines


def _print_parts(now: StackState, parts: list[PartStatus]) -> None:
    click.echo(f"{now.mode} stack: {now.state}")
    for part in parts:
        click.echo(f"  {part.name:<9} {part.condition:<6} {part.address}")
    if isinstance(now.store, state.SqliteAddress):
        click.echo(f"  {'sqlite':<9} {'file':<6} {now.store.path}")
    if now.api:
        click.echo(f"  {'api':<9} {'':<6} {now.api.url}")


@contextmanager
def _reported() -> Iterator[None]:
    """Turn errors into two lines and an exit code; a SIGTERM cleans up as a Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 the signal module's
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except StackError as error:
        fail_of_stack(error)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)
