"""The name that a worker has on its host, and the lock files behind it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams.errors import UsageError
from streams.faust_worker.instances import claim_instance
from streams.settings import Settings
from topology.graph import StageName

HOST = socket.gethostname()
HERE = Settings()
ELSEWHERE = HERE.replace("kafka", namespace="elsewhere.")
NAMED = HERE.replace("worker", instance="pod/7")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for files of running processes, which lock files go below."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def lock_files(runtime: Path) -> list[str]:
    """One for each stage and name."""
    return sorted(path.name for path in runtime.glob("*/*"))


def killed_worker(settings: Settings) -> str:
    """Let a process claim a name and be killed with it; return the name."""
    program = """
import os
from streams.faust_worker.instances import claim_instance
from streams.settings import from_environment
from topology.graph import StageName
with claim_instance(from_environment(os.environ), StageName.EMBED) as name:
    print(name, flush=True)
    os.kill(os.getpid(), 9)
"""
    killed = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings.to_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    return killed.stdout.strip()


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


@pytest.mark.parametrize(("settings", "name"), [(HERE, f"{HOST}-0"), (NAMED, "pod/7")], ids=["slot", "given"])
def test_the_successor_of_a_killed_worker_has_its_name(settings: Settings, name: str, runtime: Path) -> None:
    """A kill leaves the file, and the kernel frees its lock: the next one has the name, and no file is added."""
    for _ in range(2):
        assert killed_worker(settings) == name
        assert len(lock_files(runtime)) == 1
    with claim_instance(settings, StageName.EMBED) as successor:
        assert successor == name
        assert len(lock_files(runtime)) == 1
    assert lock_files(runtime) == []


def test_a_start_removes_what_killed_workers_of_other_logs_left(runtime: Path) -> None:
    """Logs come and go, as those of tests do: files of names that nobody has do not pile up; those in use stay."""
    killed_worker(ELSEWHERE)
    with claim_instance(NAMED, StageName.INDEX):
        (in_use,) = lock_files(runtime)
        with claim_instance(HERE, StageName.EMBED):
            assert in_use in lock_files(runtime)
            assert len(lock_files(runtime)) == 2


def test_a_name_that_is_taken_is_refused_and_its_holder_named(runtime: Path) -> None:
    """Two of one name would end each other; another stage, log or generation may have it, and so may the next one."""
    with claim_instance(NAMED, StageName.EMBED) as name:
        assert name == "pod/7"
        with pytest.raises(
            UsageError, match=f"process {os.getpid()} .* embed under the instance name pod/7"
        ) as refused:
            claim_instance(NAMED, StageName.EMBED).__enter__()
        assert "MEMSTREAM_WORKER_INSTANCE" in refused.value.next_step
        with (
            claim_instance(NAMED, StageName.INDEX),
            claim_instance(NAMED.replace("kafka", namespace="elsewhere."), StageName.EMBED),
            claim_instance(NAMED.replace("worker", generation=2), StageName.EMBED),
        ):
            assert len(lock_files(runtime)) == 4
    with claim_instance(NAMED, StageName.EMBED):
        assert len(lock_files(runtime)) == 1


def test_a_slot_may_not_be_the_given_name_of_another_worker() -> None:
    """Whoever names a worker as the first slot is called takes that slot."""
    taken = HERE.replace("worker", instance=f"{HOST}-0")
    with claim_instance(taken, StageName.EMBED), claim_instance(HERE, StageName.EMBED) as next_one:
        assert next_one == f"{HOST}-1"


def test_a_second_worker_of_one_name_ends_before_it_touches_kafka() -> None:
    """The command leaves with 2, wrong use, and says who has the name; nothing listens where its Kafka would be."""
    settings = NAMED.replace("kafka", bootstrap_servers="127.0.0.1:1")
    with claim_instance(settings, StageName.EMBED):
        refused = subprocess.run(
            [sys.executable, "-m", "streams.cli.main", "worker"],
            env=os.environ | settings.to_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (refused.returncode, refused.stdout) == (2, "")
    error, next_step = refused.stderr.splitlines()
    assert error.startswith(
        f"error: process {os.getpid()} on this host already runs embed under the instance name pod/7"
    )
    assert next_step.startswith("next: stop it first")


def test_a_folder_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no lock file can be made, the worker does not start without one."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot keep lock files in .*file/memstream-"):
        claim_instance(HERE, StageName.EMBED).__enter__()


def test_nobody_ever_shares_a_name_however_fast_workers_come_and_go(tmp_path: Path) -> None:
    """Four processes claim and leave one name over and over: whoever has it is alone, and each has it sometimes."""
    program = """
import sys
from pathlib import Path
from streams.errors import UsageError
from streams.faust_worker.instances import claim_instance
from streams.settings import Settings
from topology.graph import StageName
settings = Settings().replace("worker", instance="one")
witness, claims = Path(sys.argv[1]), 0
while claims < 100:
    try:
        with claim_instance(settings, StageName.EMBED):
            witness.open("x").close()
            claims += 1
            witness.unlink()
    except UsageError:
        pass
"""
    command = [sys.executable, "-c", program, str(tmp_path / "witness")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=100)[1] for process in processes]

    assert ([process.returncode for process in processes], said) == ([0] * 4, [""] * 4)
    assert lock_files(tmp_path) == []
