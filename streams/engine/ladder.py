"""The failure ladder: the one place that says what an error leads to.

1. transient: wait (jittered, doubling, at least what the other side asked for) and try the same batch again;
2. rate limited: the same, but it spends no retries: it is backpressure;
3. fenced, refused, bug: stop the stage with the batch uncommitted;
4. anything else is poison: the batch is halved until the event stands alone, and that one is dead-lettered.
"""

import enum
import random
from dataclasses import dataclass
from datetime import timedelta

from streams.errors import BugError, FencedError, RateLimitedError, RefusedError, TransientError


class Rung(enum.Enum):
    """What to do about an error."""

    RETRY = "retry"
    STOP = "stop"
    BISECT = "bisect"


def classify(error: BaseException) -> Rung:
    """Map an error to what happens next."""
    match error:
        case TransientError():
            return Rung.RETRY
        case FencedError() | RefusedError() | BugError() | MemoryError():
            return Rung.STOP
        case _:
            return Rung.BISECT


@dataclass
class Backoff:
    """How long to wait before the next try.

    Args:
        first_delay: upper bound of the first wait.
        max_delay: upper bound of any wait that the other side did not ask for.
        jitter: source of randomness; waits are drawn evenly from the upper half of the bound, so that many workers do
            not come back at once.
    """

    first_delay: timedelta
    max_delay: timedelta
    jitter: random.Random
    failures: int = 0

    def next_delay_s(self, error: TransientError) -> float:
        """Seconds to wait after one more failure."""
        if not isinstance(error, RateLimitedError):
            self.failures += 1
        exponent = min(max(self.failures - 1, 0), 30)
        bound_s: float = min(self.first_delay.total_seconds() * 2**exponent, self.max_delay.total_seconds())
        drawn_s = bound_s * (0.5 + self.jitter.random() / 2)
        asked_s = error.retry_after.total_seconds() if error.retry_after else 0.0
        return max(drawn_s, asked_s)
