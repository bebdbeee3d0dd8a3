"""`memstream topology`: the graph as tables and picture; check and make a cluster's topics."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

from dataclasses import asdict
from typing import Any

import click

from streams.cli.context import (
    EXIT_FAILED,
    json_option,
    print_json,
    reports_errors,
    settings_options,
)
from streams.settings import Settings
from topology import describe, provision
from topology.provision import Difference, Remedy

DONE = {
    Remedy.CREATE: "created",
    Remedy.ALTER: "set",
    Remedy.WARN: "left as it is",
    Remedy.REFUSE: "refused",
}
"""What `apply` did about a difference, in words."""


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
@reports_errors
def topology(ctx: click.Context, *, as_json: bool) -> None:
    """Show the graph: stages, topics and a Mermaid flowchart, from the data that the stages run on.

    Needs no Kafka. `check` and `apply` compare a cluster with it.

    \b
    Exit codes: 0 shown; 2 wrong use.
    """
    if ctx.invoked_subcommand is not None:
        return
    if as_json:
        print_json({**describe.as_data(), "mermaid": describe.mermaid()})
        return
    click.echo(describe.tables())
    click.echo()
    click.echo(describe.mermaid())


@topology.command()
@json_option
@settings_options
def check(*, settings: Settings, as_json: bool) -> None:
    """Explain every difference between the cluster's topics and what they must be; change nothing.

    \b
    Exit codes: 0 there is none; 1 there are some, or failed; 2 wrong use; 3 nothing to talk to.
    """
    kafka = settings.kafka
    differences = provision.check(
        kafka.bootstrap_servers,
        namespace=kafka.namespace,
        partitions=kafka.partitions,
        replication=kafka.replication,
    )
    if as_json:
        print_json({"same": not differences, "differences": [_as_data(d) for d in differences]})
    else:
        for d in differences:
            click.echo(f"{d.topic}: {d.explanation}")
        click.echo(_summary(len(differences)))
    if differences:
        raise SystemExit(EXIT_FAILED)


@topology.command()
@json_option
@settings_options
def apply(*, settings: Settings, as_json: bool) -> None:
    """Create missing topics and set differing configs. May be run any number of times.

    A topic with another number of partitions is refused, and then nothing is changed: keys would move between
    partitions, which breaks the order of a user's events and the replay of the log.

    \b
    Exit codes: 0 the topics are what they must be; 1 refused or failed; 2 wrong use; 3 nothing to talk to.
    """
    kafka = settings.kafka
    differences = provision.apply(
        kafka.bootstrap_servers,
        namespace=kafka.namespace,
        partitions=kafka.partitions,
        replication=kafka.replication,
    )
    if as_json:
        print_json({"differences": [{**_as_data(d), "done": DONE[d.remedy]} for d in differences]})
        return
    for d in differences:
        what = f"{d.setting}={d.wanted}" if d.setting else d.kind.value if d.remedy is Remedy.WARN else d.wanted
        click.echo(f"{d.topic}: {what} {DONE[d.remedy]}")
    if not differences:
        click.echo(_summary(0))


def _summary(count: int) -> str:
    if not count:
        return "the topics are what they must be"
    return f"{count} difference{'s' if count > 1 else ''}"


def _as_data(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "remedy": difference.remedy}
