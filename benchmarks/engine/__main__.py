"""How fast events pass through the engine, beside bare clients and other frameworks, on one broker.

```
python -m benchmarks.engine --out engine.json
```

A light stack is started for the run and wiped afterwards. Every contender is a process of its own, reads the same
topic from its beginning in a consumer group of its own, and runs alone; rounds are interleaved, so that a machine that
gets slower gets slower for all. Exit codes: 0 measured, 1 something failed, 2 wrong use, 130 interrupted.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import report
from benchmarks.engine import contest, events, outputs
from benchmarks.engine.contender import Result, Task
from benchmarks.engine.contest import CONTENDERS, Contender, ContestError
from benchmarks.engine.environments import Environment, PeerMissingError, pinned_versions, python_of
from infra.native import kafka_jars
from infra.native.commands import CommandError
from infra.native.commands import run as run_command
from infra.native.errors import StackError
from infra.native.paths import cache_folder
from infra.native.progress import Progress, Step, on_stderr
from infra.native.stack import Stack
from streams.cli.context import stack_settings
from streams.errors import MemstreamError
from streams.settings import PREFIX, KafkaSettings, Settings
from topology import provision
from topology.cluster import KafkaAwayError, ProvisionError
from topology.topics import CONVERSATION_EVENTS, LAPTOP_PARTITIONS, LEDGER

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

_ROOT = Path(__file__).parents[2]
_CALL_S = 30.0
_LIMIT_S = 30.0
_SLOW_LIMIT_S = 6.0
"""Stock Faust needs most of a minute for all records; its rate is steady long before."""


class Contest:
    """The run: a filled topic, and what every contender did with it."""

    def __init__(self, kafka: KafkaSettings, *, records: int, progress: Progress) -> None:
        self._kafka = kafka
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        self._records = records
        self._progress = progress
        self._run = 0
        self._pythons: dict[Environment, Path] = {}
        self.results: dict[str, list[Result]] = {}
        self.missing: dict[str, str] = {}

    def prepare(self) -> None:
        """Install the peers and fill the topic."""
        for environment in Environment:
            try:
                self._pythons[environment] = python_of(environment, cache_folder(), self._progress)
            except PeerMissingError as error:
                self._progress.note(f"{environment}: {error}")
                self.missing |= {c.name: str(error) for c in CONTENDERS if c.environment is environment}
        with self._progress.step(f"publishing {self._records} events") as step:
            events.fill(self._kafka, CONVERSATION_EVENTS.name, self._records, step.say)

    def round(self, number: int) -> None:
        """Let every contender run once. A peer that fails is left out of the round.

        Raises:
            ContestError: one of ours, or of the bare clients, failed or did not do what it claims.
        """
        with self._progress.step(f"round {number}") as step:
            for contender in CONTENDERS:
                if not self._has(contender):
                    continue
                step.say(contender.name)
                try:
                    result = self._measure(contender, step)
                except ContestError as error:
                    if contender.environment is Environment.OURS:
                        raise
                    self._progress.note(f"left out of round {number}: {error}")
                    self.missing[contender.name] = f"left out of round {number}: {_last_line(error)}"
                else:
                    self.results.setdefault(contender.name, []).append(result)
                    self._progress.note(f"{contender.name}: {result.rate_per_s:,.0f} events/s")

    def _has(self, contender: Contender) -> bool:
        return contender.environment in self._pythons

    def _measure(self, contender: Contender, step: Step) -> Result:
        self._run += 1
        batch = contender.batch or contest.transaction_size(self.results["eos.ours"][-1])
        with self._output(contender) as output:
            result = self._result(
                contender,
                Task(
                    bootstrap_servers=self._kafka.bootstrap_servers,
                    topic=CONVERSATION_EVENTS.name,
                    partitions=self._kafka.partitions,
                    records=self._records,
                    run=self._run,
                    output=output,
                    ledger=LEDGER.name,
                    batch=batch,
                    limit_s=_SLOW_LIMIT_S if contender.slow else _LIMIT_S,
                ),
            )
            step.say(f"{contender.name}: checking")
            written = outputs.committed_numbers(self._kafka, output) if output else None
            contest.check(contender, result, records=self._records, outputs=written)
        return result

    def _result(self, contender: Contender, task: Task) -> Result:
        module = f"benchmarks.engine.contenders.{contender.module}"
        command = [self._pythons[contender.environment], "-m", module, contender.mode, json.dumps(asdict(task))]
        # Settings of ours in the environment are not for contenders; peers find nothing of ours but this folder.
        environment = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PYTHON"))}
        try:
            return Result.parse("\n".join(run_command(command, env=environment, folder=_ROOT)))
        except (CommandError, ValueError) as error:
            raise ContestError(f"{contender.name}: {error}") from error

    @contextmanager
    def _output(self, contender: Contender) -> Iterator[str | None]:
        """A new topic for what the contender writes; what the last one wrote must not fill the disk."""
        if not contender.writes:
            yield None
            return
        name = f"bench.{self._run}"
        topic = NewTopic(name, num_partitions=self._kafka.partitions, replication_factor=1)
        for created in self._admin.create_topics([topic]).values():
            created.result(_CALL_S)
        try:
            yield name
        finally:
            for deleted in self._admin.delete_topics([name]).values():
                deleted.result(_CALL_S)


def _last_line(error: ContestError) -> str:
    return str(error).strip().splitlines()[-1]


@contextmanager
def started(progress: Progress) -> Iterator[Settings]:
    """A light stack of our own with the pipeline's topics; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="memstream-bench-", ignore_cleanup_errors=True) as home:
        stack = Stack("light", home=Path(home))
        try:
            settings = stack_settings(Settings().replace("kafka", partitions=LAPTOP_PARTITIONS), stack.up(progress))
            kafka = settings.kafka
            provision.apply(
                kafka.bootstrap_servers, namespace="", partitions=kafka.partitions, replication=kafka.replication
            )
            yield settings
        finally:
            stack.down(wipe=True, progress=progress)


@click.command()
@click.option("--events", "records", type=click.IntRange(min=10_000), default=1_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--out", metavar="FILE", help="Also write the JSON form here.")
def main(records: int, rounds: int, out: str | None) -> None:
    """Measure the engine beside bare clients and other frameworks."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends us, a shell's background job included
        signal.signal(number, signal.default_int_handler)
    progress, host = on_stderr(), report.host()
    try:
        with started(progress) as settings:
            run = Contest(settings.kafka, records=records, progress=progress)
            run.prepare()
            for turn in range(1, rounds + 1):
                run.round(turn)
    except (MemstreamError, StackError, ProvisionError, KafkaAwayError, ContestError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        click.echo("interrupted; everything is stopped", err=True)
        sys.exit(EXIT_INTERRUPTED)
    found = report.Report(
        rows=[
            report.row("events", records, "events"),
            report.row("rounds", rounds, "rounds"),
            *contest.rows(run.results, run.missing),
        ],
        ratios=contest.ratios(run.results),
        host=host,
        versions=report.versions("memstream", "confluent-kafka", "uvloop", "msgspec")
        | pinned_versions()
        | {"kafka": kafka_jars.read_lock().version},
    )
    report.publish(found, Path(out) if out else None)
    click.echo("\n" + "\n".join(contest.notes(run.results)))


if __name__ == "__main__":
    main()
