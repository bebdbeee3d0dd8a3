"""The loop's watchdog says once that the loop is blocked, and where; also while the interpreter lock is held."""

import asyncio
import ctypes
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog
from structlog.testing import LogCapture

from streams.clock import SystemClock
from streams.faust_worker.watchdog import LoopWatchdog

BLOCKED_AFTER = timedelta(seconds=0.3)


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[TextIO]:
    """Where stacks are written."""
    with (tmp_path / "stacks").open("w+") as file:
        yield file


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """What is logged, also by other threads."""
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries
    structlog.configure(**before)


def written(file: TextIO) -> str:
    """All of it so far."""
    return Path(file.name).read_text()


async def until_logged(events: list[Any], name: str) -> None:
    """Return once there is an event of that name."""
    async with asyncio.timeout(20):
        while all(event["event"] != name for event in events):  # noqa: ASYNC110  (another thread logs)
            await asyncio.sleep(0.05)


async def test_a_blocked_loop_is_reported_once_with_what_blocks_it(stacks: TextIO, events: list[Any]) -> None:
    """One report for one block, with the stacks of all threads, and a word when the loop answers again."""
    watchdog = LoopWatchdog(asyncio.get_running_loop(), blocked_after=BLOCKED_AFTER, clock=SystemClock(), file=stacks)
    watchdog.start()
    await asyncio.sleep(0.6)

    time.sleep(2.0)  # noqa: ASYNC251  (this is the block)

    await until_logged(events, "loop_answers_again")
    watchdog.stop()
    blocked = [event for event in events if event["event"] == "loop_blocked"]
    assert len(blocked) == 1
    assert blocked[0]["unanswered_s"] > 0.3
    assert blocked[0]["limit_s"] == 0.3
    assert written(stacks).count("threads: ") == 1
    assert "test_a_blocked_loop_is_reported_once_with_what_blocks_it" in written(stacks)


async def test_a_loop_that_answers_is_left_alone(stacks: TextIO, events: list[Any]) -> None:
    """A busy loop that comes back between its tasks is no block."""
    watchdog = LoopWatchdog(
        asyncio.get_running_loop(), blocked_after=timedelta(seconds=5), clock=SystemClock(), file=stacks
    )
    watchdog.start()
    ends_at_s = time.monotonic() + 2.0
    while time.monotonic() < ends_at_s:
        time.sleep(0.01)  # noqa: ASYNC251  (busy)
        await asyncio.sleep(0)
    watchdog.stop()

    assert events == []
    assert written(stacks) == ""


async def test_code_that_holds_the_interpreter_lock_is_shown_too(stacks: TextIO, events: list[Any]) -> None:
    """No Python thread runs meanwhile, ours neither, and yet the stack of the culprit is written."""
    watchdog = LoopWatchdog(asyncio.get_running_loop(), blocked_after=BLOCKED_AFTER, clock=SystemClock(), file=stacks)
    watchdog.start()
    await asyncio.sleep(0.2)

    ctypes.PyDLL(None).usleep(4_000_000)  # calls through PyDLL keep the lock

    assert written(stacks).startswith("Timeout"), "written by our own thread: nothing held the lock"
    assert "test_code_that_holds_the_interpreter_lock_is_shown_too" in written(stacks)
    watchdog.stop()


def test_a_limit_of_zero_watches_nothing(stacks: TextIO) -> None:
    """Who sets no limit gets no thread."""
    loop = asyncio.new_event_loop()
    watchdog = LoopWatchdog(loop, blocked_after=timedelta(0), clock=SystemClock(), file=stacks)
    watchdog.start()
    watchdog.stop()
    loop.close()

    assert written(stacks) == ""
