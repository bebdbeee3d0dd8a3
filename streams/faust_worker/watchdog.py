"""A thread that watches the event loop: while that is blocked, nothing on it can say so."""

import asyncio
import faulthandler
import sys
import threading
from datetime import timedelta
from typing import TextIO

import structlog

from streams.clock import Clock
from streams.engine.liveness import Standstill
from streams.faust_worker.stacks import running_stack, write_threads

log = structlog.get_logger("memstream.worker")

_ASKED_EVERY_S = 0.5
_MAX_GAP = timedelta(seconds=5)
"""A thread that was to look twice a second and did not for longer was halted, with the loop: that is no block."""
_LATER_S = 2.0
"""By so much the interpreter's watchdog is later than this thread would be: it is for when this thread cannot."""


class LoopWatchdog:
    """Writes the threads' stacks when the event loop does not answer, once for each time that it is blocked.

    Code that holds the interpreter lock, such as a regular expression that explodes, blocks this thread too. So the
    interpreter's own watchdog, which needs no lock, is wound up at every look and writes the stacks if nobody winds it
    up again. It cannot tell a block from a process that was halted, and writes then too.

    Args:
        loop: to watch; the thread that starts this runs it.
        blocked_after: no answer for longer is a block; zero never is.
        clock: what time it is.
        file: where stacks are written; a file of the system, as standard error is.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        blocked_after: timedelta,
        clock: Clock,
        file: TextIO = sys.stderr,
    ) -> None:
        self._loop = loop
        self._loop_thread_id = threading.get_ident()
        self._blocked_after_s = blocked_after.total_seconds()
        self._clock = clock
        self._file = file
        self._standstill: Standstill[str] = Standstill(max_gap=_MAX_GAP)
        self._answers = 0
        self._blocked_for_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop-watchdog", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        if self._blocked_after_s:
            self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                faulthandler.dump_traceback_later(self._blocked_after_s + _LATER_S, file=self._file)
                self._look()
                self._stopping.wait(_ASKED_EVERY_S)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _look(self) -> None:
        unanswered_s = self._standstill.look({"loop": self._answers}, now_s=self._clock.monotonic_s())["loop"]
        if unanswered_s > self._blocked_after_s:
            if not self._blocked_for_s:
                log.error(
                    "loop_blocked",
                    unanswered_s=round(unanswered_s, 1),
                    limit_s=self._blocked_after_s,
                    running=running_stack(self._loop_thread_id),
                )
                write_threads(self._file)
            self._blocked_for_s = unanswered_s
        elif self._blocked_for_s:
            log.warning("loop_answers_again", blocked_s=round(self._blocked_for_s, 1))
            self._blocked_for_s = 0.0
        self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answers += 1
