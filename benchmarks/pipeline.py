"""From publish to searchable: throughput, freshness, memory; beside what the store takes alone, in the same run.

```
python -m benchmarks.pipeline --stack both --out pipeline.json
```

For each stack, started for the run and wiped afterwards:

1. drain: warm workers get a backlog at once; turns a second until the last is searchable (`benchmarks.drain`);
2. check: the store holds exactly what was announced, and a sample is found by search;
3. freshness: open-loop load at a share of that rate (`benchmarks.freshness`; `--load-ratio`);
4. writer: the same rows into an empty store, alone (`benchmarks.store_writer`); `pipeline_vs_store` is the ratio.

All processes share the machine: broker, store, workers and this benchmark. Exit codes: 0 measured, 1 something failed,
2 wrong use, 3 a freshness run is invalid, 130 interrupted.
"""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks import drain, freshness, pipeline_rows, report, stage_rates, store_writer, workers, workload
from benchmarks.pipeline_rows import Load, Measured
from benchmarks.probes import IndexedProbe, WaitError
from benchmarks.report import Report, row
from benchmarks.stage_rates import StageRate
from infra.native import kafka_jars, weaviate_build
from infra.native.errors import StackError
from infra.native.progress import Progress, Step, on_stderr
from infra.native.stack import Stack
from infra.native.state import Mode
from streams.cli.context import stack_settings
from streams.embedders.factory import create_embedder
from streams.errors import MemstreamError
from streams.settings import Settings
from streams.stores.factory import create_store
from topology import provision
from topology.cluster import KafkaAwayError, ProvisionError
from topology.graph import GRAPH

EXIT_FAILED = 1
EXIT_INVALID = 3
EXIT_INTERRUPTED = 130

_SEED = 20250301
_DRAIN_WITHIN_S = 240.0
_SETTLE_WITHIN_S = 60.0
_QUIET_S = 2.0
_CLIENTS = ("confluent-kafka", "faust-streaming", "msgspec", "numpy", "redis", "tokenizers", "weaviate-client")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run does.

    Attributes:
        turns: of the backlog.
        users: who say them.
        warmup_turns: before it: the broker's compiler and the workers' caches get warm.
        processes: of the worker.
        load_s: how long the open-loop load lasts.
        load_ratio: its rate, as a share of the drain's.
        max_events: of a micro-batch; none takes the default.
    """

    turns: int
    users: int
    warmup_turns: int
    processes: int
    load_s: float
    load_ratio: float
    max_events: int | None

    def settings(self) -> Settings:
        """The workers' settings, still without addresses."""
        return Settings() if self.max_events is None else Settings().replace("batch", max_events=self.max_events)


@contextmanager
def started(mode: Mode, plan: Plan, progress: Progress) -> Iterator[tuple[Stack, Settings]]:
    """A stack of our own, in a home of its own, with its topics; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="memstream-bench-", ignore_cleanup_errors=True) as home:
        stack = Stack(mode, home=Path(home))
        try:
            settings = stack_settings(plan.settings(), stack.up(progress))
            provision.apply(
                settings.kafka.bootstrap_servers,
                namespace=settings.kafka.namespace,
                partitions=settings.kafka.partitions,
                replication=settings.kafka.replication,
            )
            yield stack, settings
        finally:
            stack.down(wipe=True, progress=progress)


def measure(mode: Mode, plan: Plan, progress: Progress) -> Measured:
    """Everything about one stack."""
    backlog = workload.conversations(turns=plan.turns, users=plan.users, seed=_SEED, run="backlog", day=1)
    warmup = workload.conversations(turns=plan.warmup_turns, users=plan.users, seed=_SEED + 1, run="warmup")
    with started(mode, plan, progress) as (stack, settings):
        with (
            IndexedProbe(settings) as probe,
            workers.running(settings, processes=plan.processes, folder=stack.home) as running,
        ):
            parts = {part.name: part.pid for part in stack.parts() if part.pid is not None}
            bench = _Bench(settings, plan, probe, running, {w.name: w.process.pid for w in running} | parts)
            with progress.step(f"{mode}: warming up with {len(warmup)} turns") as step:
                bench.drain(warmup, step)
            with progress.step(f"{mode}: draining a backlog of {len(backlog)} turns") as step:
                drained, drain_stages = bench.drain(backlog, step)
            with progress.step(f"{mode}: checking that the store has it all"):
                searched = bench.check(backlog)
            rate_per_s = plan.load_ratio * drained.turns_per_s
            with progress.step(f"{mode}: open-loop load, {rate_per_s:.0f} turns/s for {plan.load_s:g} s") as step:
                load = bench.load(rate_per_s, step)
            retries = workers.retries(running)
            peaks = {worker.name: workers.peak_memory_bytes(worker.process.pid) for worker in running}
        with progress.step(f"{mode}: the store's writer alone"):
            rows = store_writer.rows_of(settings, limit=drained.memories)
            written = asyncio.run(store_writer.write_alone(settings, rows))
    return Measured(
        drained=drained,
        drain_stages=drain_stages,
        searched=searched,
        load=load,
        written=written,
        peak_memory_bytes=peaks,
        retries=retries,
    )


@dataclass(frozen=True)
class _Bench:
    """The steps, on a stack with warm workers and a probe that follows."""

    settings: Settings
    plan: Plan
    probe: IndexedProbe
    running: Sequence[workers.Worker]
    watched: Mapping[str, int]

    def drain(self, events: Sequence[workload.Event], step: Step) -> tuple[drain.Drained, list[StageRate]]:
        """A backlog, and what the stages did about it."""
        start = datetime.now(UTC)
        drained = drain.drain(
            self.settings,
            events,
            probe=self.probe,
            workers=self.running,
            watched=self.watched,
            within_s=_DRAIN_WITHIN_S,
            say=step.say,
        )
        entries = stage_rates.decided_between(self.settings, start, datetime.now(UTC))
        return drained, stage_rates.rates(entries)

    def check(self, events: Sequence[workload.Event]) -> int:
        """See that the store holds what was announced, and that a sample is found; returns the sample's size."""
        # The last windows close by themselves, which makes facts; then nothing more may come.
        idle_s = self.settings.extract.idle_after.total_seconds()
        self.probe.await_quiet(quiet_s=idle_s + _QUIET_S, within_s=_SETTLE_WITHIN_S)
        asyncio.run(_check_count(self.settings, self.probe))
        return asyncio.run(drain.check_searchable(self.settings, events))

    def load(self, rate_per_s: float, step: Step) -> Load:
        """Open-loop load, and where the time of its events went."""
        turns = int(rate_per_s * self.plan.load_s)
        events = workload.conversations(turns=turns, users=self.plan.users, seed=_SEED + 2, run="load", day=2)
        start, before_s = datetime.now(UTC), workers.all_cpu_s(self.watched)
        fresh = asyncio.run(
            freshness.measure(
                self.settings,
                events,
                rate_per_s=rate_per_s,
                probe=self.probe,
                workers=self.running,
                say=step.say,
            )
        )
        cpu_s = workers.cpu_since_s(self.watched, before_s)
        entries = stage_rates.decided_between(self.settings, start, datetime.now(UTC))
        return Load(
            turns=turns,
            fresh=fresh,
            cpu_s=cpu_s,
            stages=stage_rates.rates(entries),
            waits_s={str(spec.name): stage_rates.waits_s(self.settings, spec, entries) for spec in GRAPH},
        )


async def _check_count(settings: Settings, probe: IndexedProbe) -> None:
    """See that the store holds exactly what was announced as searchable.

    Raises:
        WaitError: it holds more or less.
    """
    store = create_store(settings, dimensions=create_embedder().dimensions)
    await store.open()
    try:
        held = await store.count()
    finally:
        await store.close()
    if held != len(probe.seen_at_s):
        raise WaitError(f"{len(probe.seen_at_s)} memories were announced as searchable, the store holds {held}")


@click.command()
@click.option("--stack", type=click.Choice(["light", "full", "both"]), default="both", show_default=True)
@click.option("--turns", type=click.IntRange(min=100), default=60_000, show_default=True, help="Size of the backlog.")
@click.option("--users", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--warmup", type=click.IntRange(min=100), default=20_000, show_default=True, help="Turns before it.")
@click.option(
    "--processes", type=click.Choice([str(n) for n in workers.SPLITS]), default="3", show_default=True, help="Workers."
)
@click.option("--load", "load_s", type=click.FloatRange(1, 20), default=12, show_default=True, help="Seconds of load.")
@click.option(
    "--load-ratio", type=click.FloatRange(0.01, 1), default=0.7, show_default=True, help="Share of the drain's rate."
)
@click.option("--max-events", type=click.IntRange(min=1), help="Of a micro-batch; default: the worker's own.")
@click.option("--out", metavar="FILE", help="Also write the JSON form here.")
def main(
    stack: str,
    turns: int,
    users: int,
    warmup: int,
    processes: str,
    load_s: float,
    load_ratio: float,
    max_events: int | None,
    out: str | None,
) -> None:
    """Measure the pipeline from publish to searchable, beside the store's writer alone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends us, a shell's background job included
        signal.signal(number, signal.default_int_handler)
    plan = Plan(
        turns=turns,
        users=users,
        warmup_turns=warmup,
        processes=int(processes),
        load_s=load_s,
        load_ratio=load_ratio,
        max_events=max_events,
    )
    modes: list[Mode] = ["light", "full"] if stack == "both" else ["light" if stack == "light" else "full"]
    progress, host = on_stderr(), report.host()
    try:
        found = {mode: measure(mode, plan, progress) for mode in modes}
    except (MemstreamError, StackError, ProvisionError, KafkaAwayError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        click.echo("interrupted; everything is stopped", err=True)
        sys.exit(EXIT_INTERRUPTED)
    report.publish(_report(found, plan, host), Path(out) if out else None)
    invalid = {mode: why for mode, measured in found.items() if (why := measured.load.fresh.why_invalid())}
    for mode, why in invalid.items():
        click.echo(f"INVALID: freshness on the {mode} stack: {why}", err=True)
    if invalid:
        sys.exit(EXIT_INVALID)


def _report(found: Mapping[Mode, Measured], plan: Plan, host: dict[str, str | int | float]) -> Report:
    return Report(
        rows=[
            row("users", plan.users, "users"),
            row("worker_processes", plan.processes, "processes"),
            *(number for mode, measured in found.items() for number in pipeline_rows.rows(mode, measured)),
        ],
        ratios=pipeline_rows.ratios(found),
        host=host,
        versions=report.versions("memstream", *_CLIENTS)
        | {"kafka": kafka_jars.read_lock().version, "weaviate": weaviate_build.read_lock().version},
    )


if __name__ == "__main__":
    main()
