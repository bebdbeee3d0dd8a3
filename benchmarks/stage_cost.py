"""What one turn costs in Python, stage by stage: processor time of everything but the engine and Kafka.

Each round is a process of its own (`benchmarks.stage_round`). With `--against` another checkout takes turns with this
one over the same turns, so that a ratio of the two means something on a shared machine; the bytes that both wrote are
compared. Of several rounds the least counts: whatever else runs on the machine only ever adds.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from benchmarks import report, stage_round
from benchmarks.report import Report, Row, row
from benchmarks.stage_round import Round
from streams.cli.context import EXIT_FAILED

_HERE = Path(__file__).parent.parent
_STEPS = ("decode", "decide", "effect", "state", "encode")
"""What a stage's own work falls into; `encode` is measured again, alone, and is a part of `decide`."""


def run_round(checkout: Path, *, turns: int, users: int, profile: bool = False) -> Round:
    """One round over the code of a checkout.

    Raises:
        subprocess.CalledProcessError: it failed; what it said stands on standard error.
    """
    command = [sys.executable, "-P", stage_round.__file__, str(turns), str(users), *(["--profile"] if profile else [])]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Round)


def stage_us(rounds: Sequence[Round], stage: str, *, turns: int) -> float:
    """Microseconds a turn that a stage takes."""
    return min(found.stages[stage].own_s for found in rounds) / turns * 1e6


def total_us(rounds: Sequence[Round], *, turns: int) -> float:
    """Microseconds a turn that all stages take."""
    return sum(stage_us(rounds, stage, turns=turns) for stage in rounds[0].stages)


def rows(rounds: Sequence[Round], *, turns: int, prefix: str = "") -> list[Row]:
    """Microseconds a turn, by stage and step, and of all stages."""
    found = []
    for stage, first in rounds[0].stages.items():
        found.append(row(f"{prefix}{stage}", stage_us(rounds, stage, turns=turns), "us/turn"))
        for step in (step for step in _STEPS if step in first.steps):
            took_s = min(one.stages[stage].steps[step] for one in rounds)
            found.append(row(f"{prefix}{stage}.{step}", took_s / turns * 1e6, "us/turn"))
    return [*found, row(f"{prefix}all", total_us(rounds, turns=turns), "us/turn")]


def compared(ours: Sequence[Round], others: Sequence[Round], *, turns: int) -> dict[str, float]:
    """How many times as long the other checkout takes, by stage and for all."""
    ratios = {
        f"{stage}_against": stage_us(others, stage, turns=turns) / stage_us(ours, stage, turns=turns)
        for stage in ours[0].stages
    }
    ratios["all_against"] = total_us(others, turns=turns) / total_us(ours, turns=turns)
    return {name: float(f"{ratio:.4g}") for name, ratio in ratios.items()}


@click.command()
@click.option("--turns", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--users", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="The least counts.")
@click.option("--against", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout.")
@click.option(
    "--profile", is_flag=True, help="One round under cProfile, printed on standard error; times are inflated."
)
@click.option("--out", metavar="FILE", help="Also write the JSON form here.")
def main(turns: int, users: int, rounds: int, against: Path | None, *, profile: bool, out: str | None) -> None:
    """Measure what one turn costs in Python, stage by stage."""
    host = report.host()
    ours: list[Round] = []
    others: list[Round] = []
    try:
        for number in range(1 if profile else rounds):
            if against is not None and number % 2:
                others.append(run_round(against.resolve(), turns=turns, users=users))
            ours.append(run_round(_HERE, turns=turns, users=users, profile=profile))
            if against is not None and not number % 2:  # neither always comes first
                others.append(run_round(against.resolve(), turns=turns, users=users))
    except subprocess.CalledProcessError as error:
        click.echo(f"error: a round ended with exit code {error.returncode}: see above", err=True)
        sys.exit(EXIT_FAILED)
    found = rows(ours, turns=turns)
    if others:
        found += rows(others, turns=turns, prefix="against.")
        found.append(row("same_bytes", ours[0].digest == others[0].digest, "bool"))
    ratios = compared(ours, others, turns=turns) if others else {}
    versions = report.versions("memstream", "msgspec", "numpy")
    report.publish(Report(rows=found, ratios=ratios, host=host, versions=versions), Path(out) if out else None)


if __name__ == "__main__":
    main()
