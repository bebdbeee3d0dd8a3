"""The worker's way out."""

import subprocess
import sys


def test_a_process_that_cannot_leave_is_ended_by_force() -> None:
    """Threads that wait for ever do not keep a process whose time has run out; its exit code and stacks say why."""
    program = """
import threading
from streams.faust_worker.worker import end_process_within
threading.Thread(target=threading.Event().wait, name="waits-for-ever").start()
end_process_within(0.5)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 3
    assert "ended_by_force" in ended.stdout + ended.stderr
    assert "waits-for-ever" in ended.stderr
