"""A watched worker as a test holds it: started with or without a fate, its journal at hand."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos import journal
from chaos.fate import Fate
from chaos.journal import Deed, Entry
from e2e.running_worker import RunningWorker

from streams.cli.worker import parse_stages
from streams.settings import Settings

_TESTS = Path(__file__).parents[1]


class WatchedWorker(RunningWorker):
    """One worker process that keeps a journal (`chaos.watched_worker`).

    Args:
        settings: everything it is told.
        folder: where its output and the journal go; workers of one folder share the journal.
        stages: which stages it runs; none means all.
    """

    def __init__(self, settings: Settings, folder: Path, *, stages: Sequence[str] = ()) -> None:
        super().__init__(settings, folder, stages=stages, environment={"PYTHONPATH": str(_TESTS)})
        self.journal = folder / "journal"
        self.fate: Fate | None = None
        self.pids: list[int] = []

    def command(self) -> list[str]:
        """The worker, watched."""
        command = [sys.executable, "-m", "chaos.watched_worker", "--journal", str(self.journal)]
        if self._stages:
            command += ["--stages", self._stages]
        return [*command, "--fate", str(self.fate)] if self.fate is not None else command

    def start(self, fate: Fate | None = None) -> None:
        """Start the process and return at once.

        Args:
            fate: where this start of it ends itself.
        """
        self.fate = fate
        super().start()
        self.pids.append(self.pid)

    def entries(self) -> list[Entry]:
        """The journal so far, of all workers that share it."""
        return journal.read(self.journal)

    def own(self, deed: Deed) -> list[Entry]:
        """What this start of it has written down of one kind."""
        return [entry for entry in self.entries() if entry.deed is deed and entry.pid == self.pids[-1]]

    def wait_for(self, reached: Callable[[], bool], what: str, *, timeout_s: float) -> None:
        """Return once something has been reached; fails if not, or if the worker ends meanwhile."""
        deadline_s = time.monotonic() + timeout_s
        while not reached():
            self.assert_running()
            if time.monotonic() > deadline_s:
                os.kill(self.pid, signal.SIGUSR1)
                time.sleep(0.5)
                raise AssertionError(f"{self.name}: not within {timeout_s} s: {what}\n{self.log_tail(200)}")
            time.sleep(0.05)

    def wait_for_partitions(self, timeout_s: float = 30.0) -> None:
        """Return once each of its stages has been given partitions: a worker that only joined proves nothing."""
        wanted = set(parse_stages(self._stages or None))
        self.wait_for(
            lambda: {entry.stage for entry in self.own(Deed.ASSIGNED) if entry.parts} == wanted,
            "partitions for every stage",
            timeout_s=timeout_s,
        )
