"""`memstream trace`: what became of one event."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import click
from rich import box
from rich.table import Table

from streams.cli.context import fail, json_option, print_json, reports_errors, settings_options
from streams.cli.display import plain, result_console
from streams.clients.log_scan import LogScan
from streams.clients.trace import WAITING, EventUnknownError, Hop, Trace
from streams.clients.trace import trace as follow
from streams.settings import Settings

_COLOURS = {"dead_lettered": "red", "filtered": "dim", WAITING: "yellow"}


@click.command()
@click.argument("event_id")
@click.option("--tenant", metavar="T", help="Only this tenant's; with --user, `default` if it is left out.")
@click.option("--user", metavar="U", help="Only this user's: quicker, since only one partition is searched.")
@settings_options
@json_option
@reports_errors
def trace(event_id: str, tenant: str | None, user: str | None, *, settings: Settings, as_json: bool) -> None:
    """Show what became of the event EVENT_ID, stage by stage.

    Each line is one record on the way: where it stands, which stage handled it, when, and with what outcome. An event
    that was published without an id is named by its place, PARTITION-OFFSET. Searches the whole log unless a user is
    named.

    \b
    Examples:
        memstream trace 01JQ8Z3T
        memstream trace 2-4711 --json

    \b
    Exit codes: 0 found; 1 no such event in the log, or failed; 2 wrong use, or several users have an event of that id;
    3 nothing to talk to; 130 interrupted.
    """
    try:
        found = follow(LogScan(settings.kafka, client_id="memstream.trace"), event_id, tenant=tenant, user_id=user)
    except EventUnknownError as error:
        fail(str(error), next_step=error.next_step)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: Trace) -> None:
    console = result_console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("stage", "record", "time (UTC)", "outcome", "detail"):
        table.add_column(title, no_wrap=title in ("stage", "record"))
    for hop in found.hops:
        table.add_row(hop.stage, _record(hop), _time(hop), _outcome(hop), plain(hop.detail))
    console.print(table)
    console.print(
        "settled" if found.settled else "[yellow]not settled yet[/]: a stage has still to handle what is waiting"
    )


def _record(hop: Hop) -> str:
    return f"{hop.topic} {hop.partition}:{hop.offset}"


def _time(hop: Hop) -> str:
    return "-" if hop.at is None else f"{hop.at:%Y-%m-%d %H:%M:%S}.{hop.at.microsecond // 1000:03d}"


def _outcome(hop: Hop) -> str:
    text = f"{hop.outcome} ({hop.reason})" if hop.reason else hop.outcome
    colour = _COLOURS.get(hop.outcome, "green")
    return f"[{colour}]{text}[/]"
