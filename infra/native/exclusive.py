"""A lock file that makes two fetches, builds or starts wait for each other."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file while the block runs.

    The kernel frees the lock when its holder dies, so a killed process never leaves a stale lock; the file
    itself stays. Not reentrant: one process that takes the same path twice waits for itself.

    Args:
        path: The lock file; its folder is made when missing.
        on_wait: Called once when somebody else holds the lock, before waiting for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
