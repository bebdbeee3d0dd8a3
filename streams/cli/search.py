"""`memstream search`: one user's memories."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich import box
from rich.table import Table

from schemas.ids import DEFAULT_TENANT
from streams.cli.context import json_option, print_json, reports_errors, run, settings_options
from streams.cli.display import plain, result_console
from streams.clients.names import check_names
from streams.clients.reader import MemoryReader, SearchResult
from streams.settings import Settings


class MomentType(click.ParamType):
    """A time in the form of RFC 3339; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or fail as wrong use."""
        if isinstance(value, datetime):
            return value
        try:
            moment = msgspec.convert(value, datetime)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (msgspec.ValidationError, OverflowError):
            self.fail(f"{value!r} is no time such as 2025-03-01T10:00:00Z", param, ctx)


@click.command()
@click.argument("user")
@click.argument("query")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, metavar="T", help="The user's tenant.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many at most.")
@click.option("--valid-at", type=MomentType(), metavar="TIME", help="What was true then, not now.")
@click.option("--known-at", type=MomentType(), metavar="TIME", help="What was known then, not now.")
@settings_options
@json_option
@reports_errors
def search(
    user: str,
    query: str,
    tenant: str,
    limit: int,
    valid_at: datetime | None,
    known_at: datetime | None,
    *,
    settings: Settings,
    as_json: bool,
) -> None:
    """Search the memories of USER, best first, by words and by meaning, in any language.

    Times are RFC 3339, such as 2025-03-01T10:00:00Z; without an offset they are UTC. Scores compare within one answer
    only.

    \b
    Examples:
        memstream search u1 "where does she live?"
        memstream search u1 "住在哪里" --tenant acme --limit 3 --json
        memstream search u1 job --valid-at 2024-06-01T00:00:00Z

    \b
    Exit codes: 0 searched, also when nothing was found; 1 failed; 2 wrong use; 3 nothing to talk to, or no store yet.
    """
    check_names(tenant, user)
    results = run(_search(settings, user, query, tenant, limit, valid_at, known_at))
    if as_json:
        print_json({"results": results})
    elif results:
        result_console().print(results_table(results))
    else:
        click.echo("nothing found")
        click.echo(f"next: if {tenant}/{user} just said it, see how far it is: `memstream status`", err=True)


async def _search(
    settings: Settings,
    user: str,
    query: str,
    tenant: str,
    limit: int,
    valid_at: datetime | None,
    known_at: datetime | None,
) -> list[SearchResult]:
    async with MemoryReader(settings) as reader:
        return await reader.search(user, query, tenant=tenant, limit=limit, valid_at=valid_at, known_at=known_at)


def results_table(results: list[SearchResult]) -> Table:
    """Search results for people."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("score", justify="right")
    table.add_column("kind")
    table.add_column("text", ratio=1)
    table.add_column("who")
    table.add_column("since")
    for result in results:
        until = f" to {result.valid_to:%Y-%m-%d}" if result.valid_to else ""
        table.add_row(
            f"{result.score:.3f}",
            result.kind,
            plain(result.text),
            plain(result.name or ""),
            f"{result.valid_from:%Y-%m-%d}{until}",
        )
    return table
