"""Showing a verification."""

from io import StringIO

from rich.console import Console

from streams.cli.verify import report_view
from streams.clients.verification.findings import Fault, Findings, Kind
from streams.clients.verification.report import Mended, Report, StageBooks

BOOKS = [
    StageBooks(
        stage="record",
        topic="conversation.events.v1",
        records=1234,
        applied=1200,
        filtered=33,
        dead_lettered=1,
        pending=7,
    )
]


def shown(report: Report) -> str:
    """What people see."""
    output = StringIO()
    Console(file=output, width=200).print(report_view(report))
    return output.getvalue()


def test_a_sound_report_shows_its_sums() -> None:
    """The books stand as a table, the rest as counts, and the last word is the verdict."""
    text = shown(Report(books=BOOKS, users=3, changes=20, changes_pending=2, memories=18, heads=3, versions=None))
    for part in ("1,234", "1,200", "33", "20 changes, 2 of them pending", "18 memories", "Redis does not answer"):
        assert part in text
    assert text.rstrip().endswith("sound")
    assert "not sound" not in text


def test_findings_are_named_with_a_few_examples() -> None:
    """Each kind once, with how many there are and the first places; what others wrote is no markup."""
    faults = [Fault(Kind.MISSING, f"acme/[bold]u{n} m{n}: the store has nothing") for n in range(5)]
    found = Findings([*faults, Fault(Kind.NO_OUTCOME, "record conversation.events.v1 2/4 to 7", 4)]).listed()
    text = shown(Report(findings=found, left=found, sound=False))
    assert "found records without an outcome: 4" in text
    assert "record conversation.events.v1 2/4 to 7" in text
    assert "found memories that the store lacks: 5" in text
    assert "acme/[bold]u2 m2" in text
    assert "u3" not in text
    assert text.rstrip().endswith("not sound")


def test_mending_is_said_and_so_is_what_is_left() -> None:
    """What was written, deleted and put; then what could not be mended."""
    left = Findings([Fault(Kind.TWO_OUTCOMES, "record conversation.events.v1 1/2")]).listed()
    mended = Mended(memories_written=5, memories_deleted=1, heads_written=2)
    text = shown(Report(findings=left, left=left, mended=mended, sound=False))
    assert "mended: 5 memories written, 1 deleted, 2 heads put" in text
    assert "left records with more than one outcome: 1" in text


def test_a_flood_of_one_kind_is_counted_and_not_kept() -> None:
    """A log without any books does not fill the memory."""
    (found,) = Findings(Fault(Kind.NO_OUTCOME, str(n), 2) for n in range(1000)).listed()
    assert (found.count, len(found.examples)) == (2000, 100)
