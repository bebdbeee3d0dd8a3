"""A limit for dead letters: a bad deploy stops the worker instead of emptying a topic into the dead-letter topic."""

from collections import deque

from streams.errors import RefusedError
from topology.graph import StageName

_WINDOW_RECORDS = 1000
"""Judged over so many of the newest records: long enough that a few bad ones in a row are no ratio."""

_MIN_LETTERS = 100
"""Fewer stop nothing: on a quiet topic the next few records are the whole ratio."""


class DeadLetterLimit:
    """The share of dead letters among the newest records of a stage.

    It knows what this process has settled; one that is started again begins with nothing, and may so write fewer than
    `_MIN_LETTERS` letters each time before it stops again.

    Args:
        stage: named in what is said.
        max_ratio: more of the newest records are not given up; 1 gives up any number.
    """

    def __init__(self, stage: StageName, *, max_ratio: float) -> None:
        self._stage = stage
        self._max_ratio = max_ratio
        self._newest: deque[tuple[int, int]] = deque()
        self._records = 0
        self._letters = 0

    def check(self, records: int, letters: int) -> None:
        """Ask whether so many of the next records may become dead letters, before they do.

        Raises:
            RefusedError: they may not.
        """
        all_records, all_letters = self._records + records, self._letters + letters
        if letters and all_letters >= _MIN_LETTERS and all_letters > self._max_ratio * all_records:
            raise RefusedError(
                f"{self._stage} would give up {all_letters} of the newest {all_records} records, more than the limit of"
                f" {self._max_ratio:.0%}: that is hardly the records' fault. Nothing of this batch is given up. See the"
                " newest letters with `memstream dlq list`; if they are what you want,"
                " MEMSTREAM_RETRY_MAX_DEAD_LETTER_RATIO=1 lets all of them through"
            )

    def settled(self, records: int, letters: int) -> None:
        """So many records have been settled, and so many of them as dead letters."""
        self._newest.append((records, letters))
        self._records += records
        self._letters += letters
        while self._records - self._newest[0][0] >= _WINDOW_RECORDS:
            old_records, old_letters = self._newest.popleft()
            self._records -= old_records
            self._letters -= old_letters
