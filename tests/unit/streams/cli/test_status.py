"""Showing the status."""

from datetime import UTC, datetime
from io import StringIO

import msgspec
from rich.console import Console

from schemas.outcome import Reason
from streams.cli.status import status_view
from streams.clients.hanging_transactions import HangingTransaction
from streams.clients.status import StageStatus, Status, WindowStatus
from topology.graph import GRAPH

IDLE = Status(
    stages=[
        StageStatus(
            stage=spec.name,
            topic=spec.reads.name,
            started=True,
            members=1,
            lag_records=0,
            lag_s=0.0,
            applied=0,
            filtered={},
            dead_lettered={},
            open_dead_letters=0,
        )
        for spec in GRAPH
    ],
    windows=WindowStatus(open=0, oldest_age_s=None),
    open_dead_letters=0,
    hanging=[],
    caught_up=True,
    checked_at=datetime(2025, 3, 1, tzinfo=UTC),
)


def shown(status: Status) -> str:
    """What people see."""
    output = StringIO()
    Console(file=output, width=200).print(status_view(status))
    return output.getvalue()


def test_all_stages_stand_in_event_order() -> None:
    """Each stage has its line, in the order events pass them."""
    text = shown(IDLE)
    places = [text.index(f" {spec.name} ") for spec in GRAPH]
    assert places == sorted(places)
    assert "caught up" in text


def test_lag_reasons_and_missing_workers_show() -> None:
    """What needs attention is on the screen: lag with its age, reasons, a stage that nobody runs."""
    behind = msgspec.structs.replace(
        IDLE.stages[1],
        started=False,
        members=0,
        lag_records=12345,
        lag_s=75.0,
        filtered={Reason.DUPLICATE: 3},
        dead_lettered={Reason.POISON: 1},
    )
    stages = [IDLE.stages[0], behind, *IDLE.stages[2:]]
    windows = WindowStatus(open=2, oldest_age_s=4.2)
    text = shown(msgspec.structs.replace(IDLE, stages=stages, caught_up=False, windows=windows))
    for part in ("12,345 (not started)", "1 min 15 s", "none", "extract filtered: 3 duplicate", "1 poison", "4.2 s"):
        assert part in text
    assert "not caught up" in text


def test_a_transaction_that_does_not_end_shows_with_its_place_and_a_next_step() -> None:
    """Where readers stand still, for how long, how much waits, and who tells more; nothing of it when all is well."""
    hanging = [HangingTransaction("ns.memory.changes.v1", 2, 120, 1234, 3 * 3600 + 60.0)]
    text = shown(msgspec.structs.replace(IDLE, hanging=hanging, caught_up=False))
    for part in ("ns.memory.changes.v1 2 stand still at offset 120", "3 h 1 min", "1,234 offsets", "memstream verify"):
        assert part in text
    assert "stand still" not in shown(IDLE)
    assert "memstream verify" not in shown(IDLE)
