"""`memstream schemas`: write the schemas and the AsyncAPI document for those who build on the public topics."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

from pathlib import Path

import click

from schemas import export as exported
from streams.cli.context import fail, json_option, print_json, reports_errors
from topology import asyncapi

DEFAULT_OUT = Path("memstream-schemas")


@click.group()
def schemas() -> None:
    """What publishers may send and consumers get, in forms that other tools read."""


@schemas.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_OUT,
    show_default=True,
    metavar="DIR",
    help="Folder to write to; made if it is not there.",
)
@json_option
@reports_errors
def export(*, out: Path, as_json: bool) -> None:
    """Write JSON Schemas of all records and `asyncapi.json` of the public topics. Needs no Kafka.

    Files of an earlier export are written over. Schemas in `internal` may change with every release.

    \b
    Exit codes: 0 written; 1 the folder cannot be written to; 2 wrong use.
    """
    try:
        files = [*exported.write(out), exported.write_document(out / "asyncapi.json", asyncapi.document())]
    except OSError as error:
        fail(f"cannot write to {out}: {error.strerror}", next_step="name another folder with --out")
    if as_json:
        print_json({"files": [str(path) for path in files]})
        return
    for path in files:
        click.echo(path)
