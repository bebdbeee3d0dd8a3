"""How many events a batch may take, so that it is over within a target: smaller batches for less latency.

Additive increase, multiplicative decrease, as in TCP (Jacobson 1988): many workers that share a broker or a store come
to fair shares that way.
"""

from datetime import timedelta

_LEAST_EVENTS = 16
"""Below this a batch is all overhead: its transaction costs more than its events."""

_STEPS = 20
"""So many good batches lead from nothing to the largest."""


class BatchSize:
    """The limit by count of the next batch.

    Law (property-tested): between `_LEAST_EVENTS`, or `max_events` if that is less, and `max_events`.

    Args:
        max_events: the largest limit.
        latency_target: from taking a batch to its commit; zero leaves the limit as it is.
    """

    def __init__(self, *, max_events: int, latency_target: timedelta) -> None:
        self._max_events = max_events
        self._target_s = latency_target.total_seconds()
        self._limit = float(max_events)

    @property
    def max_events(self) -> int:
        """Of the next batch."""
        return int(self._limit)

    @property
    def is_reduced(self) -> bool:
        """Whether the target holds batches below their largest size."""
        return self.max_events < self._max_events

    def batch_over(self, *, events: int, took_s: float) -> None:
        """A batch of so many events is over."""
        if not self._target_s:
            return
        if took_s > self._target_s:
            # Not below what was too slow: a batch that was small already says nothing about larger limits.
            self._limit = max(min(self._limit, events) / 2, min(_LEAST_EVENTS, self._max_events))
        elif events >= self.max_events:
            self._limit = min(self._limit + self._max_events / _STEPS, self._max_events)
