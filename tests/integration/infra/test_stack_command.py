"""`memstream stack` as its users run it: output, exit codes, Ctrl-C, two at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest

from infra.native.stack import Stack
from infra.native.state import Mode

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("make_stack")]

ROOT = Path(__file__).parents[3]
MAIN = "from streams.cli.stack import stack; stack(prog_name='memstream stack')"
Running = Callable[[], list[str]]


def start(home: Path, *words: str) -> "subprocess.Popen[str]":
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *words],
        env=os.environ | {"MEMSTREAM_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    command = start(home, *words)
    stdout, stderr = command.communicate(timeout=120)
    return subprocess.CompletedProcess(words, command.returncode, stdout, stderr)


def test_a_stack_from_start_to_wipe(tmp_path: Path, running: Running) -> None:
    """Up, status, logs and down say what is so, on the right stream and with the right exit code."""
    up = run(tmp_path, "up", "--mode", "light", "--json")
    assert up.returncode == 0, up.stderr
    now = json.loads(up.stdout)
    assert (now["state"], now["mode"], now["store"]["kind"]) == ("up", "light", "sqlite")

    status = run(tmp_path, "status", "--json")
    assert (status.returncode, json.loads(status.stdout)) == (0, now)
    shown = run(tmp_path, "status")
    assert shown.returncode == 0
    assert shown.stdout.startswith("light stack: up\n")
    assert shown.stdout.count(" ready ") == 2

    logs = run(tmp_path, "logs", "kafka", "--lines", "1")
    assert (logs.returncode, logs.stdout.count("\n")) == (0, 1)
    assert "Kafka Server started" in logs.stdout
    unknown = run(tmp_path, "logs", "weaviate")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "next: name one of: kafka, redis" in unknown.stderr

    other = run(tmp_path, "up", "--mode", "full", "--toolchains", "auto")
    assert other.returncode == 2
    assert "error: a light stack is up" in other.stderr
    assert "next: run: memstream stack down" in other.stderr
    assert json.loads(run(tmp_path, "status", "--json").stdout) == now

    down = run(tmp_path, "down")
    assert (down.returncode, running()) == (0, [])
    assert json.loads(run(tmp_path, "status", "--json").stdout) == now | {"state": "down"}

    assert run(tmp_path, "down", "--wipe").returncode == 0
    assert run(tmp_path, "status", "--json").returncode == 3
    assert not (tmp_path / "light").exists()


def test_a_dead_part_is_told(tmp_path: Path, make_stack: Callable[[Mode], Stack]) -> None:
    """Status leaves with 3 when a part is dead, and says how to start it."""
    stack = make_stack("light")
    stack.up()
    stack.kill_part("redis")

    status = run(tmp_path, "status")

    assert status.returncode == 3
    assert "redis     dead" in status.stdout
    assert "next: run: memstream stack up" in status.stderr


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing_running(
    tmp_path: Path, running: Running, interrupt: signal.Signals
) -> None:
    """Ctrl-C or SIGTERM while the parts start ends all of them, and the state says down."""
    command = start(tmp_path, "up", "--mode", "light")
    since = time.monotonic()
    while not any("kafka.Kafka" in process for process in running()):
        assert time.monotonic() - since < 60
        time.sleep(0.02)

    command.send_signal(interrupt)
    _, stderr = command.communicate(timeout=60)

    assert command.returncode == 130, stderr
    assert stderr.endswith("interrupted\n")
    assert running() == []
    assert json.loads(run(tmp_path, "status", "--json").stdout)["state"] == "down"


def test_two_starts_at_once_make_one_stack(tmp_path: Path, running: Running) -> None:
    """The second start waits for the first, says so, and finds the stack up."""
    commands = [start(tmp_path, "up", "--mode", "light", "--json") for _ in range(2)]
    ended = [command.communicate(timeout=120) for command in commands]

    assert [command.returncode for command in commands] == [0, 0]
    assert ended[0][0] == ended[1][0]
    assert sum("waiting for it" in stderr for _, stderr in ended) == 1
    assert len(running()) == 2


def test_logs_can_be_followed(tmp_path: Path, make_stack: Callable[[Mode], Stack]) -> None:
    """Following goes on over a restart of the part, and ends with a Ctrl-C."""
    stack = make_stack("light")
    stack.up()
    command = start(tmp_path, "logs", "redis", "--follow", "--lines", "1")
    assert command.stdout is not None
    try:
        assert "Ready to accept connections" in command.stdout.readline()
        stack.stop_part("redis")
        stack.start_part("redis")
        followed = list(takewhile(lambda line: "Ready to accept" not in line, iter(command.stdout.readline, "")))
        assert any("ready to exit, bye bye" in line for line in followed)

        command.send_signal(signal.SIGINT)
        command.communicate(timeout=30)
        assert command.returncode == 130
    finally:
        command.kill()
