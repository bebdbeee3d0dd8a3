"""Where a watched worker meets its end: chosen by the test, told on the command line, met in the worker itself."""

import os
import signal
import time
from dataclasses import dataclass
from typing import Literal, Self

from streams.engine.steps import Step
from topology.graph import StageName

REVOKING = "revoking"
"""Partitions must be given back while a batch is open on them: the worker dies when that batch is about to commit.

That there is one, the test sees to (`chaos.journal.hold_file`)."""
REVOKED = "revoked"
"""Partitions have been given back by the engine, and the group does not know it yet."""

PERFORMING = "performing"
"""The engine is about to begin an outside effect, of something that may change later."""
CALLING = "calling"
"""The same, one step on: the effect has begun.

A worker that goes on from here does it to its end, whatever it has lost meanwhile, like a call that is on its way."""

_REACHED_WITHIN_S = 0.5
"""A signal may reach another thread first; until then this one must do nothing."""

_SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


@dataclass(frozen=True, kw_only=True)
class Fate:
    """One end.

    Attributes:
        stage: whose batches count.
        place: a step, or one of the names above.
        count: the end comes when the stage gets there for the so-manieth time.
        end: SIGKILL, or SIGSTOP until somebody thaws it.
    """

    stage: StageName
    place: str
    count: int = 1
    end: Literal["kill", "freeze"] = "kill"

    def __post_init__(self) -> None:
        assert self.place in {*Step, REVOKING, REVOKED, PERFORMING, CALLING}, f"{self.place} is no place to end at"

    def __str__(self) -> str:
        return f"{self.stage}:{self.place}:{self.count}:{self.end}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `str` made."""
        stage, place, count, end = text.split(":")
        assert end in ("kill", "freeze")
        return cls(stage=StageName(stage), place=place, count=int(count), end=end)  # type: ignore[arg-type]

    def meet(self) -> None:
        """End this process; returns only if it was frozen and has been thawed."""
        os.kill(os.getpid(), _SIGNALS[self.end])
        time.sleep(_REACHED_WITHIN_S)
