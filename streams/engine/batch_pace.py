"""When a batch closes by age, and how soon after the one before: the lanes set the beat, the other stages follow it.

A batch has a price of its own besides that of its events: about 12 ms of processor time for its transaction, two thirds
of it the broker's (`make bench-pipeline`, light stack, 4 partitions). And what a stage commits, the next one sees at
once, whole: events that came together stay together all the way. So the two stages that open a lane take one batch an
interval (`StageSpec.beats`), and those behind them take what comes as it comes. Every stage has as many transactions as
its lanes have batches, and events wait for company once and not six times.

Measured against stages that each wait as long as their own batches take: decision D-24.
"""

import math
from datetime import timedelta

_MOST_TIMES = 5
"""Of `min_interval`: one stall (a broker that restarts) must not hold up the next batch."""

_TIMES_TOOK = 2
"""An interval is so many times as long as a batch takes: a machine that is busy with other things gets fewer."""


class BatchPace:
    """When the next batch of one stage may close by age.

    Laws (property-tested): events of a stage that was at rest wait for `max_age`; two batches that close by age are
    `min_interval` apart, at the least, and none waits for more than five times that, or for its `max_age`.

    Args:
        max_age: for so long the oldest event waits for company in any case.
        min_interval: from one batch to the next; zero for a stage that follows the beat of others.
    """

    def __init__(self, max_age: timedelta, *, min_interval: timedelta = timedelta(0)) -> None:
        self._max_age_s = max_age.total_seconds()
        self._min_interval_s = min_interval.total_seconds()
        self._interval_s = self._min_interval_s
        self._taken_at_s = -math.inf

    def due_at_s(self, *, oldest_at_s: float) -> float:
        """When the batch closes whose oldest event came then."""
        return max(oldest_at_s + self._max_age_s, self._taken_at_s + self._interval_s)

    def taken(self, *, now_s: float) -> None:
        """A batch was taken."""
        self._taken_at_s = now_s

    def batch_over(self, *, took_s: float) -> None:
        """A batch is over, so long after it was taken."""
        self._interval_s = min(max(_TIMES_TOOK * took_s, self._min_interval_s), _MOST_TIMES * self._min_interval_s)
