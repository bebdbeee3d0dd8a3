"""The lock file."""

import subprocess
import sys
import threading
from pathlib import Path

from infra.native.exclusive import exclusive


def test_the_second_waits_and_says_so(tmp_path: Path) -> None:
    """Who comes second is told so, and goes on only when the first is done."""
    path = tmp_path / "made" / "lock"
    happened: list[str] = []
    told = threading.Event()

    def come_second() -> None:
        with exclusive(path, on_wait=told.set):
            happened.append("second")

    with exclusive(path, on_wait=lambda: happened.append("first waited")):
        second = threading.Thread(target=come_second)
        second.start()
        assert told.wait(10)
        happened.append("first")
    second.join(10)

    assert happened == ["first", "second"]


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    """A lock whose holder was killed is free at once: there are no stale locks to delete."""
    path = tmp_path / "lock"
    holding = (
        "import sys, time; from pathlib import Path; from infra.native.exclusive import exclusive\n"
        "with exclusive(Path(sys.argv[1]), on_wait=lambda: None):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", holding, str(path)], stdout=subprocess.PIPE, env={"PYTHONPATH": ROOT}
    )
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()

    waited: list[str] = []
    with exclusive(path, on_wait=lambda: waited.append("waited")):
        assert waited == []


ROOT = str(Path(__file__).parents[3])
