"""From publish to searchable: throughput, freshness, memory; beside what the store takes alone, in the same run.

```
python -m benchmarks.pipeline --stack both --out pipeline.json
```

For each stack, started for the run and wiped afterwards:

1. drain: warm workers get a backlog at once; turns a second until the last is searchable (`benchmarks.drain`);
2. check: the store holds exactly what was announced, and a sample is found by search;
3. freshness: open-loop load at 70 % of that rate (`benchmarks.freshness`);
4. writer: the same rows into an empty store, alone (`benchmarks.store_writer`); `pipeline_vs_store` is the ratio.

All processes share the machine: broker, store, workers and this benchmark. Exit codes: 0 measured, 1 something failed,
2 wrong use, 3 a freshness run is invalid, 130 interrupted.
"""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks import drain, freshness, report, stage_rates, store_writer, workers, workload
from benchmarks.freshness import quantile
from benchmarks.probes import IndexedProbe, WaitError
from benchmarks.report import Report, Row, row
from infra.native import kafka_jars, weaviate_build
from infra.native.errors import StackError
from infra.native.progress import Progress, on_stderr
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
_LOAD_RATIO = 0.7
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
        max_events: of a micro-batch; none takes the default.
    """

    turns: int
    users: int
    warmup_turns: int
    processes: int
    load_s: float
    max_events: int | None

    def settings(self) -> Settings:
        """The workers' settings, still without addresses."""
        return Settings() if self.max_events is None else Settings().replace("batch", max_events=self.max_events)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one stack gave."""

    rows: list[Row]
    pipeline_vs_store: float
    invalid: str


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


def measure(mode: Mode, plan: Plan, progress: Progress) -> Findings:
    """Everything about one stack."""
    events = workload.conversations(turns=plan.turns, users=plan.users, seed=_SEED, run="backlog")
    warmup = workload.conversations(turns=plan.warmup_turns, users=plan.users, seed=_SEED + 1, run="warmup")
    with started(mode, plan, progress) as (stack, settings):
        folder = stack.home / "workers"
        folder.mkdir()
        with IndexedProbe(settings) as probe, _workers(settings, plan, folder, progress) as running:
            parts = {part.name: part.pid for part in stack.parts() if part.pid is not None}
            watched = {worker.name: worker.process.pid for worker in running} | parts
            with progress.step(f"{mode}: warming up with {len(warmup)} turns") as step:
                drain.drain(
                    settings, warmup, probe=probe, workers=running, watched={}, within_s=_DRAIN_WITHIN_S, say=step.say
                )
            with progress.step(f"{mode}: draining a backlog of {len(events)} turns") as step:
                start = datetime.now(UTC)
                drained = drain.drain(
                    settings,
                    events,
                    probe=probe,
                    workers=running,
                    watched=watched,
                    within_s=_DRAIN_WITHIN_S,
                    say=step.say,
                )
                end = datetime.now(UTC)
            with progress.step(f"{mode}: checking that the store has it all"):
                # The last windows close by themselves, which makes facts; then nothing more may come.
                probe.await_quiet(
                    quiet_s=settings.extract.idle_after.total_seconds() + _QUIET_S, within_s=_SETTLE_WITHIN_S
                )
                asyncio.run(_check_count(settings, probe))
                searched = asyncio.run(drain.check_searchable(settings, events))
            drain_stages = stage_rates.rates(stage_rates.decided_between(settings, start, end))
            rate_per_s = _LOAD_RATIO * drained.turns_per_s
            load = workload.conversations(
                turns=int(rate_per_s * plan.load_s), users=plan.users, seed=_SEED + 2, run="load"
            )
            with progress.step(f"{mode}: open-loop load, {rate_per_s:.0f} turns/s for {plan.load_s:g} s") as step:
                start, before_s = datetime.now(UTC), workers.all_cpu_s(watched)
                fresh = asyncio.run(
                    freshness.measure(settings, load, rate_per_s=rate_per_s, probe=probe, workers=running, say=step.say)
                )
                load_cpu_s = workers.cpu_since_s(watched, before_s)
                load_entries = stage_rates.decided_between(settings, start, datetime.now(UTC))
            waits_s = {spec.name: stage_rates.waits_s(settings, spec, load_entries) for spec in GRAPH}
            peaks = {worker.name: workers.peak_memory_bytes(worker.process.pid) for worker in running}
        with progress.step(f"{mode}: the store's writer alone"):
            written = asyncio.run(
                store_writer.write_alone(settings, store_writer.rows_of(settings, limit=drained.memories))
            )
    rows = [
        *_throughput_rows(mode, drained, written, searched),
        *_freshness_rows(mode, fresh),
        *(row(f"{mode}.peak_memory.{name}", peak / 2**20, "MiB") for name, peak in peaks.items()),
        *_cpu_rows(f"{mode}.drain", drained.cpu_s, drained.turns),
        *_stage_rows(f"{mode}.drain", drain_stages),
        *_cpu_rows(f"{mode}.load", load_cpu_s, len(load)),
        *_stage_rows(f"{mode}.load", stage_rates.rates(load_entries)),
        *(
            row(f"{mode}.load.{stage}.wait_p{ratio * 100:.0f}", 1000 * quantile(waits, ratio), "ms")
            for stage, waits in waits_s.items()
            for ratio in (0.5, 0.99)
        ),
    ]
    return Findings(
        rows=rows,
        pipeline_vs_store=drained.memories_per_s / written.rows_per_s,
        invalid=fresh.why_invalid(),
    )


@contextmanager
def _workers(settings: Settings, plan: Plan, folder: Path, progress: Progress) -> Iterator[list[workers.Worker]]:
    with workers.running(settings, processes=plan.processes, folder=folder) as running:
        progress.note(f"{len(running)} worker process(es): {', '.join(worker.name for worker in running)}")
        yield running


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


def _throughput_rows(mode: Mode, drained: drain.Drained, written: store_writer.Written, searched: int) -> list[Row]:
    return [
        row(f"{mode}.turns", drained.turns, "turns"),
        row(f"{mode}.turns_per_s", drained.turns_per_s, "turns/s"),
        row(f"{mode}.memories_per_s", drained.memories_per_s, "memories/s"),
        row(f"{mode}.store_writer_alone", written.rows_per_s, "memories/s"),
        row(f"{mode}.store_writer_batch", written.batch, "memories"),
        row(f"{mode}.found_by_search", searched, "turns"),
    ]


def _freshness_rows(mode: Mode, fresh: freshness.Freshness) -> list[Row]:
    series = (
        ("indexed", fresh.indexed_s, (0.5, 0.95, 0.99)),
        ("found", fresh.found_s, (0.5, 0.95, 0.99)),
        ("slip", fresh.slip_s, (0.99,)),
    )
    return [
        row(f"{mode}.freshness.valid", not fresh.why_invalid(), "bool"),
        row(f"{mode}.freshness.rate", fresh.rate_per_s, "turns/s"),
        *(
            row(f"{mode}.freshness.{name}_p{ratio * 100:.0f}", 1000 * quantile(values, ratio), "ms")
            for name, values, ratios in series
            for ratio in ratios
        ),
        row(f"{mode}.freshness.found_samples", len(fresh.found_s), "turns"),
        row(f"{mode}.freshness.found_poll", freshness.POLL.total_seconds() * 1000, "ms"),
    ]


def _cpu_rows(prefix: str, used_s: dict[str, float], turns: int) -> list[Row]:
    return [row(f"{prefix}.cpu.{name}", seconds / turns * 1e6, "us/turn") for name, seconds in used_s.items()]


def _stage_rows(prefix: str, stages: list[stage_rates.StageRate]) -> list[Row]:
    return [
        number
        for rate in stages
        for number in (
            row(f"{prefix}.{rate.stage}.rate", rate.records_per_s, "records/s"),
            row(f"{prefix}.{rate.stage}.batch", rate.records_a_batch, "records"),
        )
    ]


@click.command()
@click.option("--stack", type=click.Choice(["light", "full", "both"]), default="both", show_default=True)
@click.option("--turns", type=click.IntRange(min=100), default=20_000, show_default=True, help="Size of the backlog.")
@click.option("--users", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--warmup", type=click.IntRange(min=100), default=5_000, show_default=True, help="Turns before it.")
@click.option(
    "--processes", type=click.Choice([str(n) for n in workers.SPLITS]), default="2", show_default=True, help="Workers."
)
@click.option("--load", "load_s", type=click.FloatRange(1, 20), default=12, show_default=True, help="Seconds of load.")
@click.option("--max-events", type=click.IntRange(min=1), help="Of a micro-batch; default: the worker's own.")
@click.option("--out", metavar="FILE", help="Also write the JSON form here.")
def main(
    stack: str,
    turns: int,
    users: int,
    warmup: int,
    processes: str,
    load_s: float,
    max_events: int | None,
    out: str | None,
) -> None:
    """Measure the pipeline from publish to searchable, beside the store's writer alone."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us: nothing stays behind
    plan = Plan(
        turns=turns,
        users=users,
        warmup_turns=warmup,
        processes=int(processes),
        load_s=load_s,
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
    for mode, findings in found.items():
        if findings.invalid:
            click.echo(f"INVALID: freshness on the {mode} stack: {findings.invalid}", err=True)
    if any(findings.invalid for findings in found.values()):
        sys.exit(EXIT_INVALID)


def _report(found: dict[Mode, Findings], plan: Plan, host: dict[str, str | int | float]) -> Report:
    # The plain name is the production store's; the light one's carries its stack.
    names: dict[Mode, str] = {"full": "pipeline_vs_store", "light": "pipeline_vs_store_light"}
    return Report(
        rows=[
            row("users", plan.users, "users"),
            row("worker_processes", plan.processes, "processes"),
            *(number for findings in found.values() for number in findings.rows),
        ],
        ratios={names[mode]: round(findings.pipeline_vs_store, 3) for mode, findings in found.items()},
        host=host,
        versions=report.versions("memstream", *_CLIENTS)
        | {"kafka": kafka_jars.read_lock().version, "weaviate": weaviate_build.read_lock().version},
    )


if __name__ == "__main__":
    main()
