"""How long the oldest event of a batch waits for company: as long as batches take, so that busy stages take fewer.

A batch has a price of its own besides that of its events: about 12 ms of processor time for its transaction, two thirds
of it the broker's (`make bench-pipeline`, light stack, 4 partitions). A stage that closes one every 20 ms whatever it
costs spends the machine on transactions just when events are many: six stages with 70 small transactions a second took
nine tenths of a core at 3,300 turns/s, and events waited behind them. A batch that was slow says that the machine is
busy, and the next one may as well be larger.
"""

from datetime import timedelta

_MOST = 10
"""Times `max_age`: one stall (a broker that restarts) must not hold up the next batch."""


class BatchAge:
    """The limit by age of the next batch.

    Law (property-tested): between `max_age` and ten times that.

    Args:
        max_age: the limit while batches take less than that.
    """

    def __init__(self, max_age: timedelta) -> None:
        self._max_age_s = max_age.total_seconds()
        self.limit_s = self._max_age_s

    def settled(self, *, took_s: float) -> None:
        """A batch is over, so long after it was taken."""
        self.limit_s = min(max(took_s, self._max_age_s), _MOST * self._max_age_s)
