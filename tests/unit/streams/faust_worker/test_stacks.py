"""Stacks name places in the code, down to where a task really waits, and never values."""

import asyncio
import os
import threading
from io import TextIOBase
from pathlib import Path

from streams.engine.open_batch import result_of
from streams.faust_worker.stacks import running_stack, task_stacks, write_threads


async def test_a_task_is_shown_down_to_where_it_waits() -> None:
    """The whole chain of calls is there, and tasks at one place are one line."""
    never: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def outer(secret: str) -> bool:
        return await result_of(never) and bool(secret)

    tasks = [asyncio.create_task(outer("I live in Bonn")) for _ in range(3)]
    await asyncio.sleep(0)

    (line,) = task_stacks(tasks)

    for task in tasks:
        task.cancel()
    assert line.startswith("3 x ")
    assert "test_stacks.py" in line
    assert " > engine/open_batch.py:" in line
    assert "Bonn" not in line


async def test_tasks_that_never_enter_our_code_are_left_out() -> None:
    """Faust keeps dozens of tasks that only sleep."""
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)

    assert task_stacks([task]) == []
    task.cancel()


def test_a_running_thread_is_shown_from_where_it_enters_our_code() -> None:
    """What stands around our code, such as the event loop, is cut off; what our code calls is shown."""
    entered, leave = threading.Event(), threading.Event()

    class Halting(TextIOBase):
        def write(self, _: str) -> int:
            entered.set()
            leave.wait(10)
            return 0

        def fileno(self) -> int:
            return os.open(os.devnull, os.O_WRONLY)

    thread = threading.Thread(target=write_threads, args=(Halting(),))
    thread.start()
    try:
        assert entered.wait(10)
        stack = running_stack(thread.ident or 0)
    finally:
        leave.set()
        thread.join()

    assert stack[0].startswith("faust_worker/stacks.py:")
    assert stack[0].endswith(" write_threads")
    assert any("Halting.write" in place for place in stack[1:])
    assert running_stack(0) == []


def test_threads_are_written_with_their_names(tmp_path: Path) -> None:
    """Every thread has a name and a stack."""
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait, args=(10,), name="the-waiting-one")
    thread.start()
    try:
        with (tmp_path / "stacks").open("w+") as file:
            write_threads(file)
            file.seek(0)
            text = file.read()
    finally:
        leave.set()
        thread.join()

    assert f"{thread.ident:#x} the-waiting-one" in text
    assert "test_threads_are_written_with_their_names" in text
