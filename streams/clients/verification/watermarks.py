"""Watermarks of one topic and partition: they never fall back, and never run ahead of what they speak of."""

from collections.abc import Collection, Iterator, Mapping

from schemas.candidate import Candidate, Lane, Watermark
from streams.clients.verification.findings import Fault, Kind


class WatermarkCheck:
    """Judges the records of a topic's partition one by one.

    Args:
        topic: which topic.
        partition: which partition.

    Attributes:
        reached: how far each lane was ever said to have come.
    """

    def __init__(self, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition
        self.reached: dict[Lane, int] = {}
        self._late: list[tuple[int, Lane, int, int]] = []

    def mark(self, offset: int, mark: Watermark) -> Iterator[Fault]:
        """The next watermark."""
        before = self.reached.get(mark.lane, -1)
        if mark.offset < before:
            said = f"the watermark of {mark.lane} falls from {before} to {mark.offset}"
            yield Fault(Kind.WATERMARK_FELL_BACK, f"{self._topic} {self._partition}/{offset}: {said}")
        self.reached[mark.lane] = max(before, mark.offset)

    def candidate(self, offset: int, candidate: Candidate) -> None:
        """The next candidate: whatever comes behind a watermark comes from behind it in the log."""
        reached = self.reached.get(candidate.lane, -1)
        if candidate.source.oldest_offset <= reached:
            self._late.append((offset, candidate.lane, candidate.source.oldest_offset, reached))

    def late_candidates(self, *, redriven: Collection[int]) -> Iterator[Fault]:
        """Candidates that a watermark had promised to be there before it.

        Args:
            redriven: offsets of copies that came back from the dead letters; those may be late.
        """
        for offset, lane, source, reached in self._late:
            if offset not in redriven:
                said = f"a candidate of {lane} from {source}, behind the watermark {reached}"
                yield Fault(Kind.WATERMARK_AHEAD, f"{self._topic} {self._partition}/{offset}: {said}")

    def check_ahead(self, limits: Mapping[Lane, int], *, of: str) -> Iterator[Fault]:
        """No lane has come further here than upstream, which was read later.

        Args:
            limits: how far each lane has come there.
            of: what upstream is, in words.
        """
        for lane, reached in self.reached.items():
            if reached > limits.get(lane, -1):
                said = f"the watermark of {lane} is at {reached}, {of} at {limits.get(lane, -1)}"
                yield Fault(Kind.WATERMARK_AHEAD, f"{self._topic} {self._partition}: {said}")
