"""A batch between being taken and being committed, and what a runner has done so far."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from streams.engine.attempt import Attempt
from streams.engine.batcher import RawBatch


@dataclass
class Progress:
    """What a runner has done so far; for status and tests.

    Attributes:
        transactions: committed, those for marks apart.
        batches: settled by them; a part of one that was settled in parts counts as one.
        records: settled by them.
        retries: tries that failed and were repeated.
        dead_letters: written.
        collapses: times that open batches were given up and decided again.
        closed_by: reason to batches that closed for it.
    """

    transactions: int = 0
    batches: int = 0
    records: int = 0
    retries: int = 0
    dead_letters: int = 0
    collapses: int = 0
    closed_by: dict[str, int] = field(default_factory=dict)


@dataclass(eq=False)
class OpenBatch:
    """A batch between being taken and being committed.

    Attributes:
        raw: its records.
        held_bytes: counted as in flight until it is over.
        since_s: when it was taken.
        performed: resolved with whether its effect is done.
        committed: resolved with whether it has committed.
        work: what is being done for it.
        asked: nothing is left but to perform and to commit, when its turn comes.
        ready: its attempt, once that is performed and may commit.
        committing: its commit has begun: it ends, whatever happens.
        is_careful: processes have died near its records: no other batch is opened beside it.
        applied: later decisions build on its state.
    """

    raw: RawBatch
    held_bytes: int
    since_s: float
    performed: asyncio.Future[bool]
    committed: asyncio.Future[bool]
    work: asyncio.Task[Any] | None = None
    asked: bool = False
    ready: Attempt | None = None
    committing: bool = False
    applied: bool = False
    is_careful: bool = False


async def result_of(future: "asyncio.Future[bool]") -> bool:
    """The result of a future that others wait for too: cancelling us must not cancel it."""
    await asyncio.wait({future})
    return future.result()
