"""Time, taken from outside: stages and engine never ask the system, so that tests own every second."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Wall time, UTC, aware."""

    def monotonic_s(self) -> float:
        """Seconds that never go back, for durations only."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Wall time, UTC, aware."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Seconds that never go back, for durations only."""
        return time.monotonic()
