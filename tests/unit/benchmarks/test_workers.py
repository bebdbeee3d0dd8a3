"""Worker processes: all stages run, and nothing outlives a measurement."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.workers import SPLITS, Worker, WorkerError, cpu_s, peak_memory_bytes, retries, running
from streams.settings import Settings
from topology.graph import GRAPH


@pytest.mark.parametrize("processes", SPLITS)
def test_every_split_runs_every_stage_once(processes: int) -> None:
    """However many processes: six stages, each in one of them, in event order."""
    split = SPLITS[processes]
    assert len(split) == processes
    assert [stage for stages in split for stage in stages] == [spec.name for spec in GRAPH]


def test_a_worker_that_cannot_start_says_why_and_is_gone(tmp_path: Path) -> None:
    """Without Kafka the block is never entered; the message has the worker's last words."""
    with (
        pytest.raises(WorkerError, match=r"did not become ready: .*memstream"),
        running(Settings(), processes=1, folder=tmp_path),
    ):
        pytest.fail("the block must not run")


def test_retries_are_counted_as_the_workers_log_them(tmp_path: Path) -> None:
    """The line that the engine writes for a retry is the one that is counted."""
    log = tmp_path / "worker.log"
    script = (
        "import structlog; from streams.faust_worker.worker import configure_logging; configure_logging('info');"
        "log = structlog.get_logger(); log.warning('retry', stage='index'); log.info('worker_ready')"
    )
    with log.open("w") as errors:
        process = subprocess.Popen([sys.executable, "-c", script], stderr=errors, text=True)
        process.wait()
    assert retries([Worker([], process, log)]) == 1


def test_processes_are_measured_from_outside() -> None:
    """Memory that a process has held and given back counts, and so does its processor time."""
    script = "b = bytearray(64 * 2**20); b[::4096] = b'x' * len(b[::4096]); del b; print('done', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert peak_memory_bytes(process.pid) > 64 * 2**20
        finally:
            process.kill()
    assert cpu_s(os.getpid()) > 0
