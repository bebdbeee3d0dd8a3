"""`memstream demo` and `memstream dev` with stacks of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.native import processes
from infra.native.stack import Stack
from streams.settings import PREFIX
from topology.graph import GRAPH

pytestmark = pytest.mark.stack


def environment(home: Path) -> dict[str, str]:
    """Ours without settings; the stack lives in a folder of the test's own."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(PREFIX) or n == "MEMSTREAM_CACHE"}
    return kept | {"MEMSTREAM_HOME": str(home)}


def test_the_demo_shows_everything_and_leaves_nothing(tmp_path: Path) -> None:
    """All that the demo promises is in its summary, and no process and no data is left."""
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli.main", "demo", "--json"],
        env=environment(tmp_path),
        capture_output=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    summary = json.loads(done.stdout)
    assert summary["settled"]["record"] >= summary["published"] > 0
    assert summary["changes"] >= len(summary["newest_changes"]) == 5
    assert [bool(search["results"]) for search in summary["searches"]] == [True, True]
    assert summary["invalidation"]["after"] > summary["invalidation"]["before"] > 0
    assert not (tmp_path / "demo").exists()
    assert b"\x1b" not in done.stderr


def test_dev_runs_until_it_is_stopped_and_stops_what_it_started(tmp_path: Path) -> None:
    """Once ready, other commands find the stack; after SIGTERM worker and stack are down, and the exit code is 0."""
    command = [sys.executable, "-m", "streams.cli.main"]
    process = subprocess.Popen(
        [*command, "dev", "--json"], env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["state"] == "ready"
        members: list[int] = []
        ends_at_s = time.monotonic() + 30
        while members != [1] * len(GRAPH):
            assert time.monotonic() < ends_at_s, members
            found = subprocess.run(
                [*command, "status", "--json"], env=environment(tmp_path), capture_output=True, check=True
            )
            members = [stage["members"] for stage in json.loads(found.stdout)["stages"]]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not Path(f"/proc/{ready['worker']['pid']}").exists()
        assert Stack("light", home=tmp_path).status().state == "down"
    finally:
        process.terminate()  # it stops its worker; a killed one could not
        process.wait()
        Stack("light", home=tmp_path).down(wipe=True)


def test_a_killed_dev_leaves_no_worker(tmp_path: Path) -> None:
    """Its worker ends by itself and in order; the stack stays up."""
    command = [sys.executable, "-m", "streams.cli.main", "dev", "--json"]
    process = subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        worker = json.loads(process.stdout.readline())["worker"]
        process.kill()
        process.wait()
        ends_at_s = time.monotonic() + 40
        while processes.started(worker["pid"]) is not None:
            assert time.monotonic() < ends_at_s, Path(worker["log"]).read_text()
            time.sleep(0.1)
        assert Path(worker["log"]).read_text().count("stage_stopped") == len(GRAPH)
        assert Stack("light", home=tmp_path).status().state == "up"
    finally:
        process.kill()
        process.wait()
        Stack("light", home=tmp_path).down(wipe=True)
