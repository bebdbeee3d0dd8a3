"""Where a stage stands in its topic: within the log, and no earlier than its ledger says."""

from collections.abc import Iterator
from dataclasses import dataclass

from streams.clients.verification.findings import Fault, Kind

_STOPS = "The stage stops there; docs/commands.md (verify) says how it goes on"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One stage in one partition.

    Attributes:
        stage: who.
        topic: what it reads.
        partition: which partition.
        position: the offset that it has committed, taken before anything else here; none where it never did.
        kept: the offsets that the topic keeps.
        settled_to: behind the last record that its ledger entries speak of; 0 where there are none.
        newest_position: its position, taken again behind everything else here: the stage may have gone on meanwhile.
    """

    stage: str
    topic: str
    partition: int
    position: int | None
    kept: range
    settled_to: int
    newest_position: int | None


def check_position(standing: Standing) -> Iterator[Fault]:
    """A position lies within its log, and not before what the stage has settled.

    A stage that has committed and settled nothing begins where the log does: nothing that was its own is gone.
    """
    name = f"{standing.stage} {standing.topic} {standing.partition}"
    start, newest = standing.kept.start, standing.newest_position
    if newest is not None and newest < start:
        gone = start - newest
        said = f"at {newest}, but the log starts at {start}: up to {gone} records were deleted before they were settled"
        yield Fault(Kind.RECORDS_GONE, f"{name}: {said}. {_STOPS}", gone)
    elif standing.position is not None and standing.position > standing.kept.stop:
        said = f"at {standing.position}, but the log ends at {standing.kept.stop}"
        yield Fault(Kind.POSITION_AHEAD, f"{name}: {said}: the topic was created anew, or lost records. {_STOPS}")
    elif standing.settled_to > (newest or 0):
        at = "no position is committed" if newest is None else f"at {newest}"
        why = "the position expired, was set back, or was deleted, maybe with its topic"
        said = f"{at}, but what lies before {standing.settled_to} was settled: {why}"
        yield Fault(Kind.POSITION_LOST, f"{name}: {said}", standing.settled_to - max(newest or 0, start))
