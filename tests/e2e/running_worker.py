"""A worker as users run it: `memstream worker` in a process of its own, told by its environment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.settings import PREFIX, Settings

_READY = '"state":"ready"'


def environment_of(settings: Settings, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a `memstream` process: these settings and none of the surrounding ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return kept | settings.to_environment() | dict(more or {})


class RunningWorker:
    """One worker process; it may be killed, stopped and started again under the same settings.

    Args:
        settings: everything it is told.
        folder: where its output goes, one file a start.
        stages: which stages it runs; none means all.
        environment: more environment variables.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        stages: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = environment_of(settings, environment)
        self._folder = folder
        self._stages = ",".join(stages)
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def name(self) -> str:
        """What it runs."""
        return f"worker {self._stages or 'all stages'}"

    def start(self) -> None:
        """Start the process and return at once."""
        assert self._process is None, f"{self.name} runs already"
        self.starts += 1
        with self._output().open("wb") as output, self._errors().open("wb") as errors:
            self._process = subprocess.Popen(self.command(), env=self._environment, stdout=output, stderr=errors)

    def command(self) -> list[str]:
        """What the process is; chaos tests start one that is watched from inside."""
        command = [sys.executable, "-m", "streams.cli.main", "worker", "--json"]
        return [*command, "--stages", self._stages] if self._stages else command

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return once all its stages are connected."""
        deadline_s = time.monotonic() + timeout_s
        while _READY not in self._output().read_text():
            assert self._process is not None
            code = self._process.poll()
            assert code is None, f"{self.name} ended with {code} before it was ready:\n{self.log_tail()}"
            assert time.monotonic() < deadline_s, f"{self.name} not ready within {timeout_s} s:\n{self.log_tail()}"
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def wait_ended(self, timeout_s: float) -> int:
        """Return the exit code once it has ended by itself; minus the signal if one killed it."""
        assert self._process is not None, f"{self.name} was not started"
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout_s} s:\n{self.log_tail()}") from None
        self._process = None
        return code

    def assert_running(self) -> None:
        """Fail with its last words if it has stopped by itself."""
        assert self._process is not None, f"{self.name} was not started"
        code = self._process.poll()
        assert code is None, f"{self.name} ended by itself with {code}:\n{self.log_tail()}"

    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it with SIGKILL: nothing is committed, flushed or said."""
        assert self._process is not None
        self.assert_running()
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Halt it where it stands (SIGSTOP)."""
        self.assert_running()
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self, timeout_s: float = 40.0) -> int:
        """Ask it to leave in order (SIGTERM) and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"{self.name} did not leave within {timeout_s} s:\n{self.log_tail()}") from None
        finally:
            self._process = None

    def end(self) -> None:
        """Make sure that it is gone, whatever happened."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """Standard error of all its starts."""
        return "".join(self._errors(start).read_text(errors="replace") for start in range(1, self.starts + 1))

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of standard error."""
        return "\n".join(self.log().splitlines()[-lines:])

    def _output(self) -> Path:
        return self._folder / f"{self._stages or 'all'}-{id(self)}.{self.starts}.out"

    def _errors(self, start: int | None = None) -> Path:
        return self._folder / f"{self._stages or 'all'}-{id(self)}.{start or self.starts}.err"
