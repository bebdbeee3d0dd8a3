"""Real stacks in throwaway homes; programs come from the user's cache, as everybody's do."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.native.stack import Stack
from infra.native.state import MODES, Mode


def processes_below(folder: Path) -> list[str]:
    """Return the command lines of all processes that work in the folder: every part of a stack does."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def running(tmp_path: Path) -> Callable[[], list[str]]:
    """Return a function that lists the processes of the throwaway home."""
    return lambda: processes_below(tmp_path)


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[[Mode], Stack]]:
    """Make stacks of one throwaway home, and stop whatever the test left running."""
    yield lambda mode: Stack(mode, home=tmp_path)
    for mode in MODES:
        Stack(mode, home=tmp_path).down()
    assert processes_below(tmp_path) == []
