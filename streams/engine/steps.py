"""The named steps of a batch: where time is measured, and where tests let a worker die."""

import enum
from collections.abc import Callable


class Step(enum.StrEnum):
    """What a batch has just come through, in this order."""

    TAKEN = "taken"
    """Closed by the batcher and decoded; nothing is decided."""
    DECIDED = "decided"
    """The stage has said what to write; nothing has left the process."""
    ASKED = "asked"
    """Slow outside calls that change nothing there (a model) have answered."""
    PERFORMED = "performed"
    """The outside effect is done; no transaction is open."""
    PRODUCED = "produced"
    """The transaction is open, and the broker has every output."""
    COMMITTING = "committing"
    """The offsets are in the transaction; only its commit is missing."""
    COMMITTED = "committed"
    """It is over: everything of the batch is visible to all."""


Observe = Callable[[Step], None]
"""Called at each step of each batch, in part on the thread of the transactions; it is quick and never raises."""


def unobserved(step: Step) -> None:
    """For runners that nobody watches."""
