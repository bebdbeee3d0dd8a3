"""A worker as a child process of `memstream dev` and `memstream demo`: started, watched, and always ended.

Its standard input is a pipe that only its parent holds open. So the kernel tells it of its parent's end, however that
came about, and it leaves by itself (`end_with_parent`).
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from streams.settings import FOREIGN_NAMES, PREFIX, Settings

STOP_WITHIN_S = 20.0
"""The worker's own deadline for giving partitions back is 8 s; what is not gone after this is killed."""
_POLL_S = 0.05
_READY = b'"state":"ready"'


class ChildWorker:
    """One `memstream worker` process in a process group of its own, so that Ctrl-C reaches us first.

    Args:
        settings: what it is told, through its environment.
        stages: which ones; none for all.
        log: where its output goes; it also tells whether the worker is ready.
    """

    def __init__(self, settings: Settings, *, log: Path, stages: Sequence[str] = ()) -> None:
        self._environment = child_environment(os.environ, settings)
        self._stages = stages
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    def start(self) -> None:
        """Start it; the log of the run before is kept as `<log>.previous`."""
        command = [sys.executable, "-m", "streams.cli.main", "worker", "--json", "--until-input-ends"]
        if self._stages:
            command += ["--stages", ",".join(self._stages)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name(f"{self.log.name}.previous"))
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Its process number."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; none while it runs."""
        return None if self._process is None else self._process.poll()

    def is_ready(self) -> bool:
        """Whether all its stages have connected."""
        return self.log.exists() and _READY in self.log.read_bytes()

    def stop(self) -> None:
        """Ask it to leave in order, and kill it when it does not. It does not run afterwards."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            ends_at_s = time.monotonic() + STOP_WITHIN_S
            while process.poll() is None and time.monotonic() < ends_at_s:
                time.sleep(_POLL_S)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def last_lines(self, count: int) -> list[str]:
        """The end of its log."""
        if not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-count:]


def end_with_parent() -> None:
    """In the child: end this process in order when its standard input ends, and by force when that takes too long."""

    def watch() -> None:
        while os.read(0, 1024):  # not sys.stdin: a thread that waits in it when the process ends makes Python abort
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_WITHIN_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextmanager
def only_one(lock: Path, *, otherwise: Exception) -> Iterator[None]:
    """Hold a lock file, so that no second command of a kind runs on one stack; the kernel frees that of a killed one.

    Args:
        lock: the file; its folder is made.
        otherwise: raised when somebody else holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise otherwise from None
        yield


def child_environment(environment: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Our environment with exactly these settings in it, whatever it said before."""
    kept = {n: v for n, v in environment.items() if not n.startswith(PREFIX) or n in FOREIGN_NAMES}
    return kept | settings.to_environment()


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """While the block runs, SIGTERM and a closed terminal clean up as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  (the signal module's form)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """While the block cleans up, which is bounded in time, another Ctrl-C does not leave half of it behind."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
