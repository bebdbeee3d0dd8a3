"""The name that a worker has on its host, and the lock files behind it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams.faust_worker.worker import claim_instance
from streams.settings import Settings
from topology.graph import StageName

HOST = socket.gethostname()
HERE = Settings()
ELSEWHERE = HERE.replace("kafka", namespace="elsewhere.")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for files of running processes, which lock files go below."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def lock_files(runtime: Path) -> list[str]:
    """Log, stage and slot of each."""
    return sorted(path.name for path in runtime.glob("*/*"))


def test_workers_of_one_stage_and_log_have_names_of_their_own(runtime: Path) -> None:
    """The first free slot; other stages and logs count for themselves; there are as many files as names in use."""
    with claim_instance(HERE, StageName.EMBED) as first:
        with claim_instance(HERE, StageName.EMBED) as second:
            assert (first, second) == (f"{HOST}-0", f"{HOST}-1")
            assert len(lock_files(runtime)) == 2
        with (
            claim_instance(HERE, StageName.EMBED) as second_again,
            claim_instance(HERE, StageName.INDEX) as other_stage,
            claim_instance(ELSEWHERE, StageName.EMBED) as other_log,
        ):
            assert (second_again, other_stage, other_log) == (f"{HOST}-1", f"{HOST}-0", f"{HOST}-0")
            assert len(lock_files(runtime)) == 4
    assert lock_files(runtime) == []


def test_the_successor_of_a_killed_worker_has_its_name_and_takes_its_file_over(runtime: Path) -> None:
    """A kill leaves the file, and the kernel frees its lock: the next one takes that slot, and no file is added."""
    program = """
import os
from streams.faust_worker.worker import claim_instance
from streams.settings import Settings
from topology.graph import StageName
with claim_instance(Settings(), StageName.EMBED) as name:
    print(name, flush=True)
    os.kill(os.getpid(), 9)
"""
    for _ in range(2):
        killed = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert (killed.returncode, killed.stdout.strip()) == (-9, f"{HOST}-0"), killed.stderr
        assert len(lock_files(runtime)) == 1
    with claim_instance(HERE, StageName.EMBED) as successor:
        assert successor == f"{HOST}-0"
    assert lock_files(runtime) == []


def test_a_given_name_needs_no_file(runtime: Path) -> None:
    """Whoever names a worker answers for there being one of that name."""
    with claim_instance(HERE.replace("worker", instance="pod-7"), StageName.EMBED) as name:
        assert name == "pod-7"
        assert lock_files(runtime) == []
