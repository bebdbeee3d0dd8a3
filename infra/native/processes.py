"""Detached processes that are known by more than their number."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec

from infra.native.errors import PartError

_POLL_S = 0.05
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
# Processes this one started: they must be waited for, or they stay zombies as long as we live.
_children: dict[int, subprocess.Popen[bytes]] = {}


class ProcessFacts(msgspec.Struct, frozen=True):
    """A process, told apart from a later one with the same number."""

    pid: int
    started: str


def started(pid: int) -> str | None:
    """Return when the process was started, or None if it does not run (a zombie does not run).

    The form differs between systems; it is only ever compared with itself.
    """
    if child := _children.get(pid):
        child.poll()
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # The name in parentheses may hold anything; the fields start behind its last parenthesis (proc(5)).
        state, *fields = stat.rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if state in "ZX" else f"{boot}/{fields[18]}"
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()


def is_alive(facts: ProcessFacts) -> bool:
    """Tell whether this very process still runs."""
    return started(facts.pid) == facts.started


def spawn(command: Sequence[object], env: Mapping[str, str], folder: Path, log: Path) -> ProcessFacts:
    """Start a process that outlives this one, in a session of its own.

    A session of its own keeps a Ctrl-C in the terminal away from it. The log of the run before is kept as
    `<log>.previous`, so logs never hold more than two runs.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.previous"))
    with log.open("wb") as output:
        try:
            child = subprocess.Popen(
                [str(word) for word in command],
                env=dict(env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise PartError(
                f"cannot start {command[0]}: {error.strerror}", "see that the file exists and may be executed"
            ) from error
    _children[child.pid] = child
    return ProcessFacts(child.pid, started(child.pid) or "ended at once")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM for a moment: they count at its end.

    Not by a mask, which a child would inherit.
    """
    if threading.current_thread() is not threading.main_thread():  # there they interrupt nothing
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])


def stop(processes: Iterable[tuple[ProcessFacts, timedelta]]) -> None:
    """Ask all processes to end, wait for each no longer than its grace, then kill what is left.

    Guarantees that none of them runs afterwards. A process that merely got one of the numbers is left alone.
    """
    asked = [(facts, grace) for facts, grace in processes if is_alive(facts)]
    for facts, _ in asked:
        _signal(facts, signal.SIGTERM)
    since = time.monotonic()
    for facts, grace in asked:
        while is_alive(facts) and time.monotonic() - since < grace.total_seconds():
            time.sleep(_POLL_S)
    kill(facts for facts, _ in asked)


def kill(processes: Iterable[ProcessFacts]) -> None:
    """End the processes at once, without a chance to clean up."""
    for facts in processes:
        if is_alive(facts):
            _signal(facts, signal.SIGKILL)
        while is_alive(facts):
            time.sleep(_POLL_S)
        _children.pop(facts.pid, None)


def _signal(facts: ProcessFacts, number: signal.Signals) -> None:
    try:
        # Each of our processes leads its own group: helpers it may have started get the signal too.
        os.killpg(facts.pid, number)
    except ProcessLookupError:
        return
