"""The error tree, by how an error is handled and not by where it comes from.

```
MemstreamError
├── TransientError(retry_after)   wait and try again; nothing is lost, nothing is skipped
│   ├── RateLimitedError          the same, but it is backpressure: it spends no retry budget
│   └── AwayError                 the same, but nothing answers at all: commands exit 3
├── PoisonError(reason)           this event, and no other, cannot be handled: it is dead-lettered
├── FencedError                   another instance has taken over: stop using what is fenced, at once
├── RefusedError                  the world must change first: the partition stops and says so
├── UsageError(next_step)         the caller can mend it: commands print both and exit 2
│   └── NothingThereError         the same, but there is nothing to talk to yet: commands exit 3
└── BugError                      an invariant of ours is broken: the process stops with its work uncommitted
```

`streams.engine.ladder` is the one place that maps these to what happens next. Any other exception that leaves a stage
counts as poison once bisecting has shown which event it is.
"""

from datetime import timedelta

from schemas.outcome import Reason


class MemstreamError(Exception):
    """Root of all errors of ours."""


class TransientError(MemstreamError):
    """Something outside is away or busy; the same call may work later.

    Attributes:
        retry_after: how long to wait at least; none lets the backoff decide.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitedError(TransientError):
    """The other side asks us to slow down (429): backpressure, not failure."""


class AwayError(TransientError):
    """No Kafka broker answers at the addresses we have."""


class PoisonError(MemstreamError):
    """One event cannot be handled, however often it is tried.

    Attributes:
        reason: how the ledger and the dead-letter topic call it.
    """

    def __init__(self, message: str, *, reason: Reason = Reason.POISON) -> None:
        super().__init__(message)
        self.reason = reason


class FencedError(MemstreamError):
    """Another instance has taken over a transactional id or a partition."""


class RefusedError(MemstreamError):
    """The other side refuses for good until somebody changes something; the message says what."""


class UsageError(MemstreamError):
    """The caller asked for something that cannot be done as asked.

    Attributes:
        next_step: what to do about it.
    """

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class NothingThereError(UsageError):
    """There is nothing to talk to yet: no stack, or no store."""


class BugError(MemstreamError):
    """An invariant of ours does not hold."""
