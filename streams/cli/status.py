"""`memstream status`: how far every stage has come."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import time

import click
from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from streams.cli.context import json_option, print_json, reports_errors, settings_options
from streams.cli.display import duration, result_console
from streams.clients.hanging_transactions import HangingTransaction
from streams.clients.status import StageStatus, Status, StatusReader, status_reader
from streams.clock import SystemClock
from streams.settings import Settings

_WATCH_EVERY_S = 1.0


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every second until Ctrl-C; with --json one line each.")
@settings_options
@json_option
@reports_errors
def status(*, watch: bool, settings: Settings, as_json: bool) -> None:
    """Show, for each stage, what is still to be done and what became of the rest.

    `lag` is the number of records a stage has still to settle, `behind` the age of the oldest of them. Outcomes are
    sums over the ledger. Open dead letters are those that were not redriven (`memstream dlq list`).

    A transaction that does not end is named, with its partition: no reader of committed records passes it.

    \b
    Examples:
        memstream status
        memstream status --watch

    \b
    Exit codes: 0 shown, whatever the lag; 1 failed; 2 wrong use, or there are no topics yet; 3 nothing to talk to;
    130 interrupted.
    """
    reader = status_reader(settings, SystemClock())
    if as_json:
        print_json(reader.read())
        while watch:
            time.sleep(_WATCH_EVERY_S)
            print_json(reader.read())
    elif not watch:
        result_console().print(status_view(reader.read()))
    else:
        _watch(reader)


def _watch(reader: StatusReader) -> None:
    console = result_console()
    if not console.is_terminal:
        while True:
            console.print(status_view(reader.read()))
            time.sleep(_WATCH_EVERY_S)
    with Live(status_view(reader.read()), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(_WATCH_EVERY_S)
            live.update(status_view(reader.read()), refresh=True)


def status_view(now: Status) -> RenderableType:
    """A status for people."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for title in ("lag", "behind", "applied", "filtered", "dead letters", "open", "workers"):
        table.add_column(title, justify="right", no_wrap=True)
    for stage in now.stages:
        table.add_row(
            stage.stage,
            *_progress_cells(stage),
            f"{stage.applied:,}",
            f"{sum(stage.filtered.values()):,}",
            f"{sum(stage.dead_lettered.values()):,}",
            f"[red]{stage.open_dead_letters:,}[/]" if stage.open_dead_letters else "0",
            str(stage.members) if stage.members else "[yellow]none[/]",
        )
    lines = [line for stage in now.stages for line in _reason_lines(stage)]
    windows = f"open windows: {now.windows.open:,}"
    if now.windows.oldest_age_s is not None:
        windows += f", the oldest since {duration(now.windows.oldest_age_s)}"
    verdict = "caught up" if now.caught_up else "[yellow]not caught up[/]"
    return Group(table, *lines, windows, *_hanging_lines(now.hanging), verdict)


def _hanging_lines(hanging: list[HangingTransaction]) -> list[str]:
    lines = [
        f"[red]readers of {one.topic} {one.partition} stand still at offset {one.first_offset}[/]: a transaction has "
        f"been open there for {duration(one.open_s)}, {one.records_behind:,} offsets wait"
        for one in hanging
    ]
    return [*lines, "next: `memstream verify` says what to do about it"] if lines else []


def _progress_cells(stage: StageStatus) -> tuple[str, str]:
    if stage.lag_records == 0:
        return "0" if stage.started else "0 (not started)", "-"
    lag = f"{stage.lag_records:,}" + ("" if stage.started else " (not started)")
    return f"[yellow]{lag}[/]", duration(stage.lag_s)


def _reason_lines(stage: StageStatus) -> list[str]:
    return [
        f"{stage.stage} {outcome}: {', '.join(f'{count:,} {reason}' for reason, count in counts.items())}"
        for outcome, counts in (("filtered", stage.filtered), ("dead-lettered", stage.dead_lettered))
        if counts
    ]
