"""Whether a stage gets on, judged by its progress alone. Pure: facts and time come from outside.

A stage with nothing to do is well, and so is one that is slower than its input, as long as it settles something.
It is stuck when something that must move has stood still for longer than the limit: records that were fetched and are
not settled, partitions that load, a start, the thread that polls. Why it stands still does not matter for that: a store
that is away holds events up just as a hang does. Only the words differ, since a restart mends one and not the other.

Not seen: records that the broker has and the client does not fetch.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from topology.graph import StageName

K = TypeVar("K")


class Standstill(Generic[K]):
    """For how long things have not moved, in time that was watched.

    A process that was halted looks again after a gap in which nothing could move, so a gap counts as `max_gap` at most:
    nobody is stuck for having been asleep.

    Laws (property-tested): never longer than the time since the last move; exactly the time since the look that first
    saw the mark, when no two looks were further apart than `max_gap`.

    Args:
        max_gap: the longest time between two looks that counts in full.
    """

    def __init__(self, *, max_gap: timedelta) -> None:
        self._max_gap_s = max_gap.total_seconds()
        self._looked_at_s: float | None = None
        self._watched_s = 0.0
        self._seen: dict[K, tuple[Hashable, float]] = {}

    def look(self, marks: Mapping[K, Hashable], *, now_s: float) -> dict[K, float]:
        """Note what moves.

        Args:
            marks: thing to a mark that changes whenever it moves; what is not named is at rest and may stay so.
            now_s: monotonic.

        Returns:
            For how many seconds each has shown this mark.
        """
        if self._looked_at_s is not None:
            self._watched_s += min(max(now_s - self._looked_at_s, 0.0), self._max_gap_s)
        self._looked_at_s = now_s
        before = self._seen
        self._seen = {
            thing: before[thing] if thing in before and before[thing][0] == mark else (mark, self._watched_s)
            for thing, mark in marks.items()
        }
        return {thing: self._watched_s - since_s for thing, (_, since_s) in self._seen.items()}


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """What a stage tells of itself at one moment. Counts start at any number and only grow.

    Attributes:
        opened: what it needs is connected; before that, nothing else says anything.
        polls: returns of its polling thread from a poll.
        loaded: partitions that it works on.
        loading: partitions that it was given and whose state is not loaded yet.
        unsettled: partition to the first offset that was fetched and is not settled.
        settled: records, by commits.
        retries: calls that failed in passing and were repeated.
    """

    opened: bool = True
    polls: int = 0
    loaded: frozenset[int] = frozenset()
    loading: frozenset[int] = frozenset()
    unsettled: Mapping[int, int] = field(default_factory=dict)
    settled: int = 0
    retries: int = 0


class Condition(StrEnum):
    """How a stage is."""

    OK = "ok"
    STARTING = "starting"
    HINDERED = "hindered"
    """It has work, and only repeats what fails: something that it needs is away."""
    STUCK = "stuck"


class Motion(StrEnum):
    """What must move, if it is there at all."""

    STARTING = "starting"
    POLLING = "polling"
    LOADING = "loading"
    SETTLING = "settling"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a stage is, and why.

    Attributes:
        condition: how.
        reason: a sentence; empty when all is well.
        motion: what has stood still for longest; none when nothing has to move.
        still_s: for how long it has.
        retries: calls that were repeated meanwhile.
    """

    condition: Condition
    reason: str = ""
    motion: Motion | None = None
    still_s: float = 0.0
    retries: int = 0


class StageWatch:
    """Judges one stage, look by look.

    Args:
        stage: named in what is said.
        stuck_after: standing still for longer is stuck; zero never is.
        unready_after: standing still for longer, while calls are repeated, is hindered; zero never is.
        max_gap: see `Standstill`.
    """

    def __init__(
        self, stage: StageName, *, stuck_after: timedelta, unready_after: timedelta, max_gap: timedelta
    ) -> None:
        self._stage = stage
        self._stuck_after_s = stuck_after.total_seconds() or math.inf
        self._unready_after_s = unready_after.total_seconds() or math.inf
        self._standstill: Standstill[Motion] = Standstill(max_gap=max_gap)
        self._retries_before: dict[Motion, int] = {}

    def look(self, facts: StageFacts, *, now_s: float) -> Verdict:
        """Judge by the facts of now and what was seen before."""
        still = self._standstill.look(_marks(facts), now_s=now_s)
        for motion, still_s in still.items():
            if still_s == 0.0:
                self._retries_before[motion] = facts.retries
        if not still:
            return Verdict(condition=Condition.OK)
        motion = max(still, key=lambda each: still[each])
        still_s = still[motion]
        retries = facts.retries - self._retries_before[motion]
        if still_s > self._stuck_after_s:
            condition = Condition.STUCK
        elif not facts.opened:
            condition = Condition.STARTING
        elif still_s > self._unready_after_s and retries:
            condition = Condition.HINDERED
        else:
            return Verdict(condition=Condition.OK, motion=motion, still_s=still_s, retries=retries)
        reason = f"{self._stage} {_standing(motion, facts, still_s)}{self._limit(condition)}; {_why(motion, retries)}"
        return Verdict(condition=condition, reason=reason, motion=motion, still_s=still_s, retries=retries)

    def _limit(self, condition: Condition) -> str:
        return f" (limit {self._stuck_after_s:g} s)" if condition is Condition.STUCK else ""


def _marks(facts: StageFacts) -> dict[Motion, Hashable]:
    """What has to move now, and by what one sees that it does."""
    if not facts.opened:
        return {Motion.STARTING: True}
    marks: dict[Motion, Hashable] = {Motion.POLLING: facts.polls}
    if facts.loading:
        marks[Motion.LOADING] = facts.loading
    if facts.unsettled:
        marks[Motion.SETTLING] = facts.settled
    return marks


def _standing(motion: Motion, facts: StageFacts, still_s: float) -> str:
    match motion:
        case Motion.STARTING:
            return f"has been starting for {still_s:.0f} s"
        case Motion.POLLING:
            return f"has a polling thread that has not come back for {still_s:.0f} s"
        case Motion.LOADING:
            partitions = ", ".join(map(str, sorted(facts.loading)))
            return f"has loaded none of the partitions {partitions} for {still_s:.0f} s"
        case Motion.SETTLING:
            waiting = ", ".join(
                f"{partition} from offset {first}" for partition, first in sorted(facts.unsettled.items())
            )
            return f"has settled nothing for {still_s:.0f} s while records wait in partition {waiting}"


def _why(motion: Motion, retries: int) -> str:
    if retries:
        return f"failed calls repeated meanwhile: {retries}, so what it needs is away; see `retry` in its log"
    if motion is Motion.STARTING:
        return "no call has failed meanwhile: what it connects to does not answer"
    return "no call has failed meanwhile: it hangs, or one call takes that long"
