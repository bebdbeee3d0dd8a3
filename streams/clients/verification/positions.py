"""Where a stage stands in its topic: within the log, and not before what its ledger says."""

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

    A stage whose position is gone goes on behind its last ledger entry (`streams.engine.ledger_positions`), so that is
    its position. One that has settled nothing either begins where the log does: nothing that was its own is gone.
    """
    name = f"{standing.stage} {standing.topic} {standing.partition}"
    start, end, settled_to = standing.kept.start, standing.kept.stop, standing.settled_to
    first, newest = standing.position, standing.newest_position
    if newest is None:
        first = newest = settled_to or start
    if newest < start:
        gone = start - newest
        said = f"at {newest}, but the log starts at {start}: up to {gone} records were deleted before they were settled"
        yield Fault(Kind.RECORDS_GONE, f"{name}: {said}. {_STOPS}", gone)
    elif first is not None and first > end:
        said = f"at {first}, but the log ends at {end}"
        yield Fault(Kind.POSITION_AHEAD, f"{name}: {said}: the topic was created anew, or lost records. {_STOPS}")
    elif settled_to > newest:
        said = f"at {newest}, but what lies before {settled_to} was settled: the position was set back"
        yield Fault(Kind.POSITION_SET_BACK, f"{name}: {said}", settled_to - newest)
