"""The worker as a child process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.cli import child_worker
from streams.cli.child_worker import ChildWorker, child_environment, terminated_like_interrupted, uninterrupted
from streams.settings import Settings, from_environment


def test_a_child_gets_exactly_these_settings() -> None:
    """Settings of the surrounding environment do not leak into the child; where the stack lives does."""
    surrounding = {"PATH": "/bin", "MEMSTREAM_KAFKA_NAMESPACE": "other", "MEMSTREAM_HOME": "/somewhere"}
    settings = Settings().replace("kafka", bootstrap_servers="127.0.0.1:1", partitions=4)
    environment = child_environment(surrounding, settings)
    assert from_environment(environment) == settings
    assert (environment["PATH"], environment["MEMSTREAM_HOME"]) == ("/bin", "/somewhere")


def running(worker: ChildWorker, code: str) -> "subprocess.Popen[bytes]":
    """Let the worker be this Python program, and wait until it says that it runs."""
    with worker.log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=output, start_new_session=True)
    worker._process = process
    ends_at_s = time.monotonic() + 20
    while b"up" not in worker.log.read_bytes():
        assert time.monotonic() < ends_at_s
        time.sleep(0.01)
    return process


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `stop` the process does not run, even if it ignores being asked."""
    monkeypatch.setattr(child_worker, "STOP_WITHIN_S", 0.3)
    worker = ChildWorker(Settings(), log=tmp_path / "worker.log")
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"
    process = running(worker, deaf)
    worker.stop()
    assert process.returncode == -signal.SIGKILL


def test_a_child_that_listens_ends_in_order(tmp_path: Path) -> None:
    """A process that ends when asked is not killed, and its exit code is known."""
    worker = ChildWorker(Settings(), log=tmp_path / "worker.log")
    listening = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up'); time.sleep(60)"
    )
    running(worker, listening)
    assert worker.exit_code is None
    worker.stop()
    assert worker.exit_code == 7


def test_stopping_what_never_started_does_nothing(tmp_path: Path) -> None:
    """Clean-up code may call `stop` whatever happened before."""
    worker = ChildWorker(Settings(), log=tmp_path / "worker.log")
    worker.stop()
    assert (worker.pid, worker.exit_code, worker.last_lines(5)) == (None, None, [])


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-u", "-c", sys.argv[1]], stdin=subprocess.PIPE, start_new_session=True)
child.wait()
"""


@pytest.mark.parametrize(
    ("on_sigterm", "end"),
    [("lambda *_: sys.exit('left in order')", "left in order"), ("lambda *_: print('goes on')", "goes on")],
    ids=["in order", "by force"],
)
def test_a_child_ends_when_its_parent_is_killed(on_sigterm: str, end: str) -> None:
    """However the parent ends, its child is asked to leave, and killed when it does not."""
    child = f"""
import signal, sys, time
from streams.cli import child_worker
child_worker.STOP_WITHIN_S = 0.3
signal.signal(signal.SIGTERM, {on_sigterm})
child_worker.end_with_parent()
print("up")
while True:
    time.sleep(0.1)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, child], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    parent.kill()

    said, _ = parent.communicate(timeout=60)  # until the last one that could write there is gone
    assert (parent.returncode, said) == (-signal.SIGKILL, f"{end}\n")


def test_sigterm_cleans_up_like_ctrl_c() -> None:
    """SIGTERM becomes the same exception as Ctrl-C, and the handler from before comes back."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated_like_interrupted():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_clean_up_is_not_interrupted() -> None:
    """A second Ctrl-C while cleaning up changes nothing."""
    with uninterrupted():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        done = True
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
