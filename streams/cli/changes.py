"""`memstream changes`: what happened to memories, one change a line."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

from typing import Literal

import click
import msgspec
from rich.text import Text

from schemas.memory import MemoryChange, Op
from streams.cli.context import json_option, print_json, reports_errors, run, settings_options
from streams.cli.display import counted, result_console, shortened
from streams.clients.changes import MemoryChanges, PlacedChange
from streams.clients.names import check_names
from streams.errors import UsageError
from streams.settings import Settings

Start = Literal["beginning", "end"] | dict[int, int]
_NAMED: dict[str, Start] = {"beginning": "beginning", "end": "end"}

COLOURS = {
    Op.ADDED: "green",
    Op.UPDATED: "cyan",
    Op.SUPERSEDED: "yellow",
    Op.RETRACTED: "magenta",
    Op.REINFORCED: "blue",
    Op.ERASED: "red",
}


@click.command()
@click.option("--follow", is_flag=True, help="Go on waiting for new changes until Ctrl-C.")
@click.option(
    "--from",
    "start",
    default="beginning",
    show_default=True,
    metavar="beginning|end|PARTITION:OFFSET,...",
    help="Where to start; partitions that are not named start at their beginning.",
)
@click.option("--tenant", metavar="T", help="Only this tenant's.")
@click.option("--user", metavar="U", help="Only this user's.")
@settings_options
@json_option
@reports_errors
def changes(
    start: str, tenant: str | None, user: str | None, *, follow: bool, settings: Settings, as_json: bool
) -> None:
    """Show memory changes, one a line, from the beginning to the end as of now; with --follow, go on.

    Changes of one user come in the order of their revisions. With --json each line is the change as it stands on
    memory.changes (docs/events.md). Without it a line ends with the change's place, PARTITION:OFFSET.

    \b
    Examples:
        memstream changes --user u1
        memstream changes --follow --from end --json
        memstream changes --from 0:120,1:98

    \b
    Exit codes: 0 shown; 1 failed; 2 wrong use; 3 nothing to talk to; 130 interrupted.
    """
    check_names(tenant, user)
    run(_show(settings, parse_start(start), tenant, user, follow=follow, as_json=as_json))


async def _show(
    settings: Settings, start: Start, tenant: str | None, user: str | None, *, follow: bool, as_json: bool
) -> None:
    console = result_console()
    followed = MemoryChanges(settings, start=start, follow=follow)
    async for placed in followed:
        change = placed.change
        if (tenant is not None and change.tenant != tenant) or (user is not None and change.user_id != user):
            continue
        if as_json:
            print_json(change)
        else:
            console.print(Text.assemble(change_line(change), place(placed)), soft_wrap=True)
    if followed.passed_over:
        passed_over = counted(followed.passed_over, "record")
        click.echo(f"passed over {passed_over} of a newer schema; upgrade to see more", err=True)


def change_line(change: MemoryChange) -> Text:
    """One change for people: who, which revision, what happened to what."""
    shown = "" if change.text is msgspec.UNSET else shortened(change.text)
    speaker = shortened(change.name, characters=30) if change.name and change.kind == "turn" else ""
    return Text.assemble(
        (f"{change.op:<10} ", COLOURS[change.op]),
        (f"{shortened(str(change.user))} ", "bold"),
        (f"r{change.revision} ", "dim"),
        f"{change.kind:<4} ",
        f"{speaker}: " if speaker else "",
        shown or ("(no text)", "dim"),
    )


def place(placed: PlacedChange) -> tuple[str, str]:
    """Where the change stands, as --from takes it."""
    return f"  {placed.partition}:{placed.offset}", "dim"


def parse_start(text: str) -> Start:
    """Where to start.

    Raises:
        UsageError: it is none of the three forms.
    """
    if text in _NAMED:
        return _NAMED[text]
    start: dict[int, int] = {}
    for item in text.split(","):
        partition, colon, offset = item.strip().partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal() and text.isascii()):
            raise UsageError(
                f"--from {text!r} is no place to start", next_step="give beginning, end, or places such as 0:120,1:98"
            )
        start[int(partition)] = int(offset)
    return start
