"""`memstream worker`: run stages."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import click

from streams.cli.child_worker import end_with_parent
from streams.cli.context import json_option, print_json, reports_errors, settings_options
from streams.errors import UsageError
from streams.settings import Settings
from topology.graph import GRAPH, StageName


@click.command()
@click.option("--stages", metavar="NAME,...", help="Which stages; default: all six.")
@click.option("--until-input-ends", is_flag=True, help="Leave when standard input ends, as it does with the parent.")
@settings_options
@json_option
@reports_errors
def worker(stages: str | None, *, until_input_ends: bool, settings: Settings, as_json: bool) -> None:
    """Run all stages in this process, or some of them.

    Stages share nothing but Kafka: they may run in one process or in many, and any number of workers may run the same
    one. Ctrl-C or SIGTERM ends open batches and leaves in order. With a health.port it answers /health and /ready.

    \b
    Examples:
        memstream worker
        memstream worker --stages extract,embed
        memstream worker --set health.port=8080

    \b
    Exit codes: 0 stopped in order, 1 a stage failed (its open batch is uncommitted and is done again by the next
    worker), 2 wrong use, or another worker has its worker.instance, 3 nothing to talk to, or no Kafka broker has
    answered for kafka.away_limit (5 minutes).
    """
    from streams.faust_worker.worker import run

    names = parse_stages(stages)
    if until_input_ends:
        end_with_parent()

    def ready() -> None:
        if as_json:
            print_json({"state": "ready", "stages": names})
        else:
            click.echo(f"ready: {', '.join(names)} (Ctrl-C to stop)")

    run(settings, names, ready=ready)


def parse_stages(text: str | None) -> list[StageName]:
    """Stage names, in event order.

    Raises:
        UsageError: one of them is no stage.
    """
    if text is None:
        return [spec.name for spec in GRAPH]
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    known = {str(spec.name) for spec in GRAPH}
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise UsageError(
            f"no stage is called {', '.join(map(repr, unknown)) or 'nothing'}",
            next_step=f"stages are {', '.join(spec.name for spec in GRAPH)}",
        )
    return [spec.name for spec in GRAPH if spec.name in wanted]
