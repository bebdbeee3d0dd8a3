"""Where a worker stands: the stacks of its tasks and threads, as places in the code and never as values."""

import asyncio
import faulthandler
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

_OURS = str(Path(__file__).parents[1])
_MAX_TASKS = 40
"""Of one report; all stages of a worker at full pipelines have about as many that differ."""


def task_stacks(tasks: Iterable["asyncio.Task[Any]"]) -> list[str]:
    """Where tasks of ours wait, outermost call first; call it on their loop.

    Tasks that stand at the same place are one line with their number; those that never enter our code, such as Faust's
    own, are left out.
    """
    stacks = (_waiting_at(task) for task in tasks if not task.done())
    counts = Counter(
        " > ".join(_place(frame) for frame in stack) for stack in stacks if any(_is_ours(frame) for frame in stack)
    )
    return [f"{number} x {stack}" for stack, number in counts.most_common(_MAX_TASKS)]


def running_stack(thread_id: int) -> list[str]:
    """Where a thread is inside our code and what that calls, outermost call first."""
    stack: list[FrameType] = []
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  (public, for debuggers, and spelled so)
    while frame is not None:
        stack.insert(0, frame)
        frame = frame.f_back
    first = next((index for index, frame in enumerate(stack) if _is_ours(frame)), len(stack))
    return [_place(frame) for frame in stack[first:]]


def write_threads(file: TextIO) -> None:
    """Write the stacks of all threads, innermost call first, with a line that tells their names."""
    names = ", ".join(
        f"{thread.ident:#x} {thread.name}" for thread in threading.enumerate() if thread.ident is not None
    )
    file.write(f"threads: {names}\n")
    file.flush()
    faulthandler.dump_traceback(file, all_threads=True)


def _waiting_at(task: "asyncio.Task[Any]") -> list[FrameType]:
    """The frames of a task that waits; `Task.get_stack` shows the outermost only."""
    stack = []
    awaitable: Any = task.get_coro()
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is not None:
            stack.append(frame)
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)
    return stack


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def _place(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno} {frame.f_code.co_qualname}"
