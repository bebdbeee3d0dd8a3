"""Worker processes under measurement: started as a user would, watched from outside, ended by their own id."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.errors import MemstreamError
from streams.settings import PREFIX, Settings
from topology.graph import GRAPH, StageName

_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 20.0
_POLL_S = 0.05

SPLITS: Mapping[int, Sequence[Sequence[StageName]]] = {
    1: [[spec.name for spec in GRAPH]],
    2: [
        [StageName.RECORD, StageName.EXTRACT, StageName.EMBED],
        [StageName.CONSOLIDATE, StageName.INDEX, StageName.INVALIDATE],
    ],
    3: [
        [StageName.RECORD, StageName.EXTRACT, StageName.EMBED],
        [StageName.CONSOLIDATE],
        [StageName.INDEX, StageName.INVALIDATE],
    ],
    len(GRAPH): [[spec.name] for spec in GRAPH],
}
"""How many processes, and which stages run in each."""


class WorkerError(MemstreamError):
    """A worker did not start or did not live."""


@dataclass(frozen=True)
class Worker:
    """One worker process.

    Attributes:
        stages: that it runs.
        process: the process.
        log: what it says.
    """

    stages: Sequence[StageName]
    process: "subprocess.Popen[str]"
    log: Path

    @property
    def name(self) -> str:
        """Its stages, or `worker` when it runs all of them."""
        return "worker" if len(self.stages) == len(GRAPH) else "+".join(self.stages)


@contextmanager
def running(settings: Settings, *, processes: int, folder: Path) -> Iterator[list[Worker]]:
    """Run workers for the block; none is left behind.

    Args:
        settings: what they are told, all of it.
        processes: a key of `SPLITS`.
        folder: for their logs.

    Raises:
        WorkerError: one of them did not become ready.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = inherited | settings.to_environment()
    workers: list[Worker] = []
    try:
        for number, stages in enumerate(SPLITS[processes]):
            log = folder / f"worker-{number}.log"
            with log.open("w") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", "streams.cli.main", "worker", "--json", "--stages", ",".join(stages)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    start_new_session=True,  # Ctrl-C is for us; we end them in order
                )
            workers.append(Worker(stages, process, log))
        for worker in workers:
            _await_ready(worker)
        yield workers
    finally:
        _stop(workers)


def check_alive(workers: Sequence[Worker]) -> None:
    """See that every worker still runs.

    Raises:
        WorkerError: one has ended; its last words are in the message.
    """
    for worker in workers:
        if worker.process.poll() is not None:
            raise WorkerError(f"{worker.name} ended with code {worker.process.returncode}: {_last_words(worker.log)}")


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used so far, in user and kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def retries(workers: Sequence[Worker]) -> int:
    """How often a worker says it had to try a batch again: a store or broker that stalls shows here."""
    return sum(worker.log.read_text(errors="replace").count('"event": "retry"') for worker in workers)


def all_cpu_s(watched: Mapping[str, int]) -> dict[str, float]:
    """Processor seconds that each of these processes, by name, has used so far."""
    return {name: cpu_s(pid) for name, pid in watched.items()}


def cpu_since_s(watched: Mapping[str, int], before_s: Mapping[str, float]) -> dict[str, float]:
    """Processor seconds that each of them has used since then."""
    return {name: cpu_s(pid) - before_s[name] for name, pid in watched.items()}


def peak_memory_bytes(pid: int) -> int:
    """The most memory that a process has held so far (`VmHWM`, kept by the kernel: no sampling misses a peak)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise WorkerError(f"process {pid} has no memory: it has ended")


def _await_ready(worker: Worker) -> None:
    said: list[str] = []
    stdout = worker.process.stdout
    assert stdout is not None
    reader = threading.Thread(target=lambda: said.append(stdout.readline()), daemon=True)
    reader.start()
    reader.join(_READY_WITHIN_S)
    if not said or '"ready"' not in said[0]:
        raise WorkerError(f"{worker.name} did not become ready: {_last_words(worker.log)}")


def _stop(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    deadline_s = time.monotonic() + _STOP_WITHIN_S
    for worker in workers:
        try:
            worker.process.wait(max(_POLL_S, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
