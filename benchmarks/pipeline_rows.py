"""What the pipeline benchmark found, and how it is told: the names here are what others read."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks import freshness
from benchmarks.drain import Drained
from benchmarks.freshness import Freshness, quantile
from benchmarks.report import Row, row
from benchmarks.stage_rates import StageRate
from benchmarks.store_writer import Written
from infra.native.state import Mode

RATIO_NAMES: Mapping[Mode, str] = {"full": "pipeline_vs_store", "light": "pipeline_vs_store_light"}
"""The plain name is the production store's."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """An open-loop run.

    Attributes:
        turns: published.
        fresh: latencies.
        cpu_s: processor seconds used meanwhile, by process name.
        stages: what the stages did meanwhile.
        waits_s: stage to how long each of its records had waited (`stage_rates.waits_s`).
    """

    turns: int
    fresh: Freshness
    cpu_s: Mapping[str, float]
    stages: list[StageRate]
    waits_s: Mapping[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one stack gave.

    Attributes:
        drained: the backlog.
        drain_stages: what the stages did about it.
        searched: how many of its turns were searched for; all were found.
        load: the open-loop run.
        written: what the store took alone.
        peak_memory_bytes: of each worker, over everything.
        retries: batches that workers had to try again, over everything.
    """

    drained: Drained
    drain_stages: list[StageRate]
    searched: int
    load: Load
    written: Written
    peak_memory_bytes: Mapping[str, int]
    retries: int


def rows(mode: Mode, measured: Measured) -> list[Row]:
    """All numbers of one stack, in reading order."""
    drained, written, load = measured.drained, measured.written, measured.load
    return [
        row(f"{mode}.turns", drained.turns, "turns"),
        row(f"{mode}.turns_per_s", drained.turns_per_s, "turns/s"),
        row(f"{mode}.memories_per_s", drained.memories_per_s, "memories/s"),
        row(f"{mode}.store_writer_alone", written.rows_per_s, "memories/s"),
        row(f"{mode}.store_writer_batch", written.batch, "memories"),
        row(f"{mode}.found_by_search", measured.searched, "turns"),
        *_freshness_rows(f"{mode}.freshness", load.fresh),
        *(row(f"{mode}.peak_memory.{name}", peak / 2**20, "MiB") for name, peak in measured.peak_memory_bytes.items()),
        row(f"{mode}.retries", measured.retries, "batches"),
        *_cpu_rows(f"{mode}.drain.cpu", drained.cpu_s, drained.turns),
        *_stage_rows(f"{mode}.drain", measured.drain_stages),
        *_cpu_rows(f"{mode}.load.cpu", load.cpu_s, load.turns),
        *_stage_rows(f"{mode}.load", load.stages),
        *(
            row(f"{mode}.load.{stage}.wait_p{ratio * 100:.0f}", 1000 * quantile(waits, ratio), "ms")
            for stage, waits in load.waits_s.items()
            for ratio in (0.5, 0.99)
        ),
    ]


def ratios(found: Mapping[Mode, Measured]) -> dict[str, float]:
    """Memories indexed a second by the pipeline, over those that the store's writer takes alone."""
    return {
        RATIO_NAMES[mode]: round(measured.drained.memories_per_s / measured.written.rows_per_s, 3)
        for mode, measured in found.items()
    }


def _freshness_rows(prefix: str, fresh: Freshness) -> list[Row]:
    series = (
        ("indexed", fresh.indexed_s, (0.5, 0.95, 0.99)),
        ("found", fresh.found_s, (0.5, 0.95, 0.99)),
        ("slip", fresh.slip_s, (0.99,)),
    )
    return [
        row(f"{prefix}.valid", not fresh.why_invalid(), "bool"),
        row(f"{prefix}.rate", fresh.rate_per_s, "turns/s"),
        *(
            row(f"{prefix}.{name}_p{ratio * 100:.0f}", 1000 * quantile(values, ratio), "ms")
            for name, values, ratios in series
            for ratio in ratios
        ),
        row(f"{prefix}.found_samples", len(fresh.found_s), "turns"),
        row(f"{prefix}.found_poll", freshness.POLL.total_seconds() * 1000, "ms"),
    ]


def _cpu_rows(prefix: str, used_s: Mapping[str, float], turns: int) -> list[Row]:
    return [row(f"{prefix}.{name}", seconds / turns * 1e6, "us/turn") for name, seconds in used_s.items()]


def _stage_rows(prefix: str, stages: list[StageRate]) -> list[Row]:
    return [
        number
        for rate in stages
        for number in (
            row(f"{prefix}.{rate.stage}.rate", rate.records_per_s, "records/s"),
            row(f"{prefix}.{rate.stage}.batch", rate.records_a_batch, "records"),
        )
    ]
