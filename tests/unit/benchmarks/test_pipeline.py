"""The command and the names under which its numbers are read."""

from click.testing import CliRunner

from benchmarks.drain import Drained
from benchmarks.freshness import Freshness
from benchmarks.pipeline import main
from benchmarks.pipeline_rows import Load, Measured, ratios, rows
from benchmarks.stage_rates import StageRate
from benchmarks.store_writer import Written


def _measured(*, memories: int) -> Measured:
    stage = StageRate(stage="index", records=600, batches=3, seconds=2.0)
    return Measured(
        drained=Drained(turns=1000, seconds=2.0, memories=memories, started_at_s=0.0, cpu_s={"kafka": 0.4}),
        drain_stages=[stage],
        searched=40,
        load=Load(
            turns=100,
            fresh=Freshness(rate_per_s=350.0, indexed_s=[0.1, 0.2], found_s=[0.3], slip_s=[0.001], unseen=0, unfound=0),
            cpu_s={"kafka": 0.05},
            stages=[stage],
            waits_s={"index": [0.01, 0.02]},
        ),
        written=Written(rows=1000, seconds=0.5, batch=500),
        peak_memory_bytes={"worker": 300 * 2**20},
        retries=3,
    )


def test_the_plain_ratio_is_the_production_stores() -> None:
    """`pipeline_vs_store` is the full stack's; the light one's name says so."""
    measured = _measured(memories=1600)
    assert ratios({"light": measured, "full": _measured(memories=2000)}) == {
        "pipeline_vs_store_light": 0.4,
        "pipeline_vs_store": 0.5,
    }


def test_numbers_are_those_of_the_run() -> None:
    """Rates, latencies, shares and memory come out of the measurements, in the units they are named with."""
    told = {row.name: (row.value, row.unit) for row in rows("full", _measured(memories=1600))}
    assert told["full.turns_per_s"] == (500.0, "turns/s")
    assert told["full.memories_per_s"] == (800.0, "memories/s")
    assert told["full.store_writer_alone"] == (2000.0, "memories/s")
    assert told["full.freshness.indexed_p50"] == (100.0, "ms")
    assert told["full.freshness.indexed_p99"] == (200.0, "ms")
    assert told["full.freshness.valid"] == (1.0, "bool")
    assert told["full.drain.cpu.kafka"] == (400.0, "us/turn")
    assert told["full.load.cpu.kafka"] == (500.0, "us/turn")
    assert told["full.drain.index.batch"] == (200.0, "records")
    assert told["full.load.index.wait_p99"] == (20.0, "ms")
    assert told["full.retries"] == (3.0, "batches")
    assert told["full.peak_memory.worker"] == (300.0, "MiB")


def test_wrong_use_is_refused_before_anything_starts() -> None:
    """An unknown stack or a number of processes that no split has ends with exit code 2."""
    for arguments in (["--stack", "medium"], ["--processes", "5"], ["--load", "60"], ["--turns", "0"]):
        assert CliRunner().invoke(main, arguments).exit_code == 2
