"""Pauses of the whole process: after one, others may own what we still believe to be ours.

A process that is halted (SIGSTOP, a moved virtual machine, swap) sends no heartbeats, and its partitions go to others.
When it wakes, its own next heartbeat tells it so; until then it must not touch anything outside. The broker, SQLite and
Redis refuse what such a zombie writes; a store without fences, such as Weaviate, cannot.
"""

from datetime import timedelta


class PauseWatch:
    """Notices gaps in time, and says for how long nothing may be done outside.

    Not promised: a pause between asking and doing, or within a call, goes unseen; what that leaves behind is bounded by
    the store's timeout and mended by `memstream verify --repair`.

    Args:
        session_timeout: a silent member loses its partitions after so long.
        now_s: monotonic.
    """

    def __init__(self, session_timeout: timedelta, *, now_s: float) -> None:
        self._max_gap_s = session_timeout.total_seconds() / 2
        # Two heartbeats (`streams.engine.kafka`): the answer to the first may still be that of a group that rebalances.
        self._doubt_s = session_timeout.total_seconds() * 2 / 5
        self.tick_every_s = session_timeout.total_seconds() / 20
        self._ticked_at_s = now_s
        self._doubtful_until_s = now_s

    def tick(self, *, now_s: float) -> None:
        """Still alive; called more often than `tick_every_s` while all is well."""
        if now_s - self._ticked_at_s > self._max_gap_s:
            self._doubtful_until_s = now_s + self._doubt_s
        self._ticked_at_s = now_s

    def doubt_s(self, *, now_s: float) -> float:
        """Seconds for which nothing may be done outside; 0 when we are what we believe to be."""
        self.tick(now_s=now_s)
        return max(0.0, self._doubtful_until_s - now_s)
