"""Detached processes and their identity."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from infra.native import processes
from infra.native.errors import PartError
from infra.native.processes import ProcessFacts

Spawn = Callable[[str], ProcessFacts]


@pytest.fixture
def spawn(tmp_path: Path) -> Spawn:
    """Start Python code as a process of a stack."""

    def start(code: str) -> ProcessFacts:
        return processes.spawn([sys.executable, "-c", code], dict(os.environ), tmp_path, tmp_path / "logs" / "part.log")

    return start


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds, ten seconds at most."""
    since = time.monotonic()
    while not condition():
        assert time.monotonic() - since < 10
        time.sleep(0.02)


def test_a_process_is_known_while_it_runs(spawn: Spawn) -> None:
    """A started process is alive, leads its own session, and is dead after it was stopped."""
    facts = spawn("import time; time.sleep(60)")

    assert processes.is_alive(facts)
    assert os.getsid(facts.pid) == facts.pid

    processes.stop([(facts, timedelta(seconds=10))])

    assert not processes.is_alive(facts)


def test_a_reused_number_is_left_alone(spawn: Spawn) -> None:
    """A process that merely has the number we wrote down is not ours: it is neither alive for us nor stopped."""
    other = spawn("import time; time.sleep(60)")
    ours = msgspec.structs.replace(other, started="at another time")
    try:
        assert not processes.is_alive(ours)
        processes.stop([(ours, timedelta(seconds=1))])
        processes.kill([ours])
        assert processes.is_alive(other)
    finally:
        processes.kill([other])


def test_a_zombie_is_dead() -> None:
    """A process that ended but was not waited for does not count as running."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        wait_for(lambda: processes.started(child.pid) is None)
    finally:
        child.wait()


def test_a_process_that_ignores_the_request_is_killed(spawn: Spawn, tmp_path: Path) -> None:
    """Stopping takes no longer than the grace, also when the process does not want to end."""
    facts = spawn(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    wait_for(lambda: (tmp_path / "logs" / "part.log").read_bytes() != b"")
    since = time.monotonic()

    processes.stop([(facts, timedelta(seconds=0.3))])

    assert not processes.is_alive(facts)
    assert 0.3 <= time.monotonic() - since < 5


def test_a_process_may_end_in_good_order(spawn: Spawn, tmp_path: Path) -> None:
    """A process that handles SIGTERM gets to do so."""
    facts = spawn(
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', flush=True)));"
        "print('hello', flush=True); time.sleep(60)"
    )
    log = tmp_path / "logs" / "part.log"
    wait_for(lambda: log.read_text() == "hello\n")

    processes.stop([(facts, timedelta(seconds=10))])

    assert log.read_text() == "hello\nbye\n"


def test_the_log_before_is_kept(spawn: Spawn, tmp_path: Path) -> None:
    """A start begins a new log and keeps the one before it, and no more."""
    for word in ("one", "two", "three"):
        facts = spawn(f"print({word!r})")
        wait_for(lambda facts=facts: not processes.is_alive(facts))

    logs = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert logs == {"part.log": "three\n", "part.log.previous": "two\n"}


def test_a_program_that_does_not_exist_is_an_error_with_its_cause(tmp_path: Path) -> None:
    """The error names the program and why it cannot be started."""
    with pytest.raises(PartError, match="cannot start no-such-program: No such file"):
        processes.spawn(["no-such-program"], {}, tmp_path, tmp_path / "log")


def test_all_of_a_group_end(spawn: Spawn, tmp_path: Path) -> None:
    """What a process started itself is ended with it."""
    facts = spawn(
        "import subprocess, sys, time;"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
    )
    log = tmp_path / "logs" / "part.log"
    wait_for(lambda: log.read_text().endswith("\n"))
    helper = int(log.read_text())
    try:
        processes.stop([(facts, timedelta(seconds=10))])
        wait_for(lambda: processes.started(helper) is None)
    finally:
        if processes.started(helper):
            os.kill(helper, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_what_must_not_be_torn_apart(number: signal.Signals) -> None:
    """It counts at the end, once, by whoever handled it before; what is started meanwhile does not inherit this."""
    heard: list[int] = []
    before = signal.signal(number, lambda number, _: heard.append(number))
    try:
        with processes.uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            assert heard == []
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
        assert heard == [number]
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == -signal.SIGTERM
        signal.raise_signal(number)
        assert heard == [number, number]
    finally:
        signal.signal(number, before)
