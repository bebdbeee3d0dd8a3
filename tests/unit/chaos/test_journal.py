"""A journal is read as far as it has been written."""

import os
from pathlib import Path

import pytest
from chaos import journal
from chaos.fate import REVOKING, Fate
from chaos.journal import Deed, Journal, Part

from topology.graph import StageName


def test_entries_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    """Stage, deed, records, revisions and the process that wrote them survive."""
    written = Journal(tmp_path / "journal")
    written.write(StageName.INDEX, Deed.PERFORMED, [Part(1, 5, 9)], revisions={"m": 3}, note="so")

    (entry,) = journal.read(tmp_path / "journal")
    assert (entry.pid, entry.stage, entry.deed, entry.note) == (os.getpid(), StageName.INDEX, Deed.PERFORMED, "so")
    assert (list(entry.parts), entry.revisions) == ([Part(1, 5, 9)], {"m": 3})


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    """Half a line is not read, and does not spoil those before it."""
    path = tmp_path / "journal"
    Journal(path).write(StageName.INDEX, Deed.DECIDING)
    with path.open("ab") as file:
        file.write(b'{"at_ns": 1')

    assert len(journal.read(path)) == 1


def test_a_journal_that_nobody_has_begun_is_empty(tmp_path: Path) -> None:
    """A worker that has not come so far has written nothing."""
    assert journal.read(tmp_path / "journal") == []


@pytest.mark.parametrize(
    "fate",
    [Fate(stage=StageName.RECORD, place="taken"), Fate(stage=StageName.INDEX, place=REVOKING, count=3, end="freeze")],
)
def test_a_fate_is_told_on_the_command_line(fate: Fate) -> None:
    """What the test chose is what the worker reads."""
    assert Fate.parse(str(fate)) == fate


def test_a_place_that_no_worker_comes_through_is_refused() -> None:
    """A misspelt place would let the worker live, and the test prove nothing."""
    with pytest.raises(AssertionError, match="no place to end at"):
        Fate(stage=StageName.INDEX, place="comitting")
