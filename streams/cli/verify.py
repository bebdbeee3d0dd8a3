"""`memstream verify`: do log, store and cache tell one history?"""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from schemas.ids import DEFAULT_TENANT
from streams.cli.context import (
    EXIT_FAILED,
    EXIT_NOTHING_THERE,
    fail,
    json_option,
    print_json,
    reports_errors,
    settings_options,
)
from streams.cli.display import counted, plain, progress_console, result_console
from streams.clients.names import check_names
from streams.clients.verification.findings import Finding
from streams.clients.verification.report import Report, Scope
from streams.clients.verification.verifier import Verifier
from streams.errors import TransientError
from streams.settings import Settings

_SHOWN_EXAMPLES = 3


@click.command()
@click.option(
    "--repair",
    is_flag=True,
    help="Mend the store from the log: write what is missing or older, with its "
    "vectors, delete what the log has not, put the heads.",
)
@click.option("--tenant", metavar="NAME", help="Only this tenant's users: revisions, heads, store and cache.")
@click.option("--user", "user_id", metavar="USER", help="Only this user, of --tenant or the default tenant.")
@settings_options
@json_option
@reports_errors
def verify(*, repair: bool, tenant: str | None, user_id: str | None, settings: Settings, as_json: bool) -> None:
    """Check that log, store and cache tell one history, and name whatever does not fit.

    Transactions: none holds up its partition for good. One that does is an operator's to end; the rest is judged.
    Books: every record that a stage has passed has exactly one outcome, and every dead letter its record. Revisions:
    gapless for each user, and heads sum up what the changes give. Watermarks: they never fall back and never run ahead.
    Store: every memory is what the log says, up to where index has come. Redis: no version that index never announced.

    What a stage has still to do is pending and no fault, so this may run beside workers. It reads the whole log; with
    --user only that user's partition.

    \b
    Examples:
        memstream verify
        memstream verify --repair
        memstream verify --user u1 --tenant acme --json

    \b
    Exit codes: 0 sound, or sound after --repair; 1 something does not fit; 2 wrong use, or there are no topics yet;
    3 Kafka or the store does not answer, no store yet, or nothing to talk to; 130 interrupted.
    """
    check_names(tenant, user_id)
    if user_id is not None and tenant is None:
        tenant = DEFAULT_TENANT
    try:
        with _progress() as progress, Verifier(settings, progress) as verifier:
            report = verifier.verify(Scope(tenant=tenant, user_id=user_id), repair=repair)
    except TransientError as error:
        fail(str(error), next_step="see what answers (`memstream stack status`), try again", code=EXIT_NOTHING_THERE)
    if as_json:
        print_json(report)
    else:
        result_console().print(report_view(report))
    if not report.sound:
        raise SystemExit(EXIT_FAILED)


def report_view(report: Report) -> RenderableType:
    """A report for people."""
    return Group(
        *([_books_table(report)] if report.books else []),
        _counts(report),
        *_findings("found", report.findings),
        *_mended(report),
        "[green]sound[/]" if report.sound else "[red]not sound[/]",
    )


def _books_table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for title in ("records", "applied", "filtered", "dead letters", "pending"):
        table.add_column(title, justify="right", no_wrap=True)
    for page in report.books:
        counts = (page.records, page.applied, page.filtered, page.dead_lettered, page.pending)
        table.add_row(page.stage, *(f"{count:,}" for count in counts))
    return table


def _counts(report: Report) -> str:
    pending = f", {report.changes_pending:,} of them pending" if report.changes_pending else ""
    counts = [
        counted(report.changes, "change") + pending,
        counted(report.users, "user"),
        counted(report.memories, "memory", "memories") + " in the store",
        counted(report.heads, "head"),
        "Redis does not answer" if report.versions is None else counted(report.versions, "version") + " in Redis",
    ]
    return "; ".join(counts)


def _findings(title: str, findings: list[Finding]) -> Iterator[RenderableType]:
    for finding in findings:
        yield f"[red]{title}[/] {finding.said}: {finding.count:,}"
        for example in finding.examples[:_SHOWN_EXAMPLES]:
            yield plain(f"    {example}")
        if len(finding.examples) > _SHOWN_EXAMPLES:
            yield "    ..."


def _mended(report: Report) -> Iterator[RenderableType]:
    if (mended := report.mended) is None:
        return
    written, put = counted(mended.memories_written, "memory", "memories"), counted(mended.heads_written, "head")
    yield f"mended: {written} written, {mended.memories_deleted:,} deleted, {put} put"
    yield from _findings("left", report.left)


class _Bar:
    """Progress on a terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("reading the log", total=None)

    def begin(self, offsets: int) -> None:
        self._bar.update(self._task, total=offsets)

    def say(self, doing: str) -> None:
        self._bar.update(self._task, description=doing)

    def advance(self, offsets: int) -> None:
        self._bar.advance(self._task, offsets)


class _Lines:
    """Progress in a log file: one line for each thing that is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, offsets: int) -> None:
        self._console.print(f"{offsets:,} offsets to read")

    def say(self, doing: str) -> None:
        self._console.print(doing)

    def advance(self, offsets: int) -> None:
        """Nothing: lines are few."""


@contextmanager
def _progress() -> Iterator[_Bar | _Lines]:
    console = progress_console()
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        yield _Bar(bar)
