"""Where a stage stands in its topic."""

from typing import Any

import pytest

from streams.clients.verification.findings import Fault, Kind
from streams.clients.verification.positions import Standing, check_position

TOPIC = "conversation.events.v1"


def standing(**fields: Any) -> Standing:
    """Record has settled 50 of 50 to 90, with everything before deleted since."""
    stated: dict[str, Any] = {"position": 50, "kept": range(50, 90), "settled_to": 50, "newest_position": 50}
    return Standing(stage="record", topic=TOPIC, partition=2, **stated | fields)


def found(checked: Standing) -> list[tuple[Kind, int]]:
    """Kinds and counts."""
    return [(fault.kind, fault.count) for fault in check_position(checked)]


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(standing(), id="at the start"),
        pytest.param(standing(position=90, settled_to=90, newest_position=90), id="at the end"),
        pytest.param(standing(position=None, newest_position=None, settled_to=0), id="has never run"),
        pytest.param(standing(position=20, newest_position=60, settled_to=60), id="went on past what was deleted"),
        pytest.param(standing(position=60, newest_position=95, settled_to=93), id="went on past the end as it was"),
        pytest.param(standing(position=None, newest_position=95, settled_to=93), id="began meanwhile"),
        pytest.param(standing(position=None, newest_position=None, settled_to=70), id="goes on behind its ledger"),
    ],
)
def test_a_stage_within_its_log_passes(sound: Standing) -> None:
    """Also one that was at work while topic and ledger were read."""
    assert found(sound) == []


@pytest.mark.parametrize(
    ("wrong", "kind", "count"),
    [
        pytest.param(standing(position=20, newest_position=20, settled_to=20), Kind.RECORDS_GONE, 30, id="deleted"),
        pytest.param(standing(position=20, newest_position=45, settled_to=45), Kind.RECORDS_GONE, 5, id="went on"),
        pytest.param(standing(position=91, newest_position=91, settled_to=91), Kind.POSITION_AHEAD, 1, id="made anew"),
        pytest.param(standing(position=None, newest_position=None, settled_to=20), Kind.RECORDS_GONE, 30, id="both"),
        pytest.param(standing(position=None, newest_position=None, settled_to=91), Kind.POSITION_AHEAD, 1, id="anew"),
        pytest.param(standing(position=55, newest_position=55, settled_to=70), Kind.POSITION_SET_BACK, 15, id="back"),
    ],
)
def test_a_position_that_is_outside_of_its_log_or_set_back_is_named(wrong: Standing, kind: Kind, count: int) -> None:
    """One kind each, with how many records it is about."""
    assert found(wrong) == [(kind, count)]


def test_what_was_deleted_is_named_with_stage_topic_partition_and_both_offsets() -> None:
    """All that an operator needs to look at it."""
    (fault,) = check_position(standing(position=20, newest_position=20, settled_to=20))
    assert fault == Fault(
        Kind.RECORDS_GONE,
        f"record {TOPIC} 2: at 20, but the log starts at 50: up to 30 records were deleted before they were settled. "
        "The stage stops there; docs/commands.md (verify) says how it goes on",
        30,
    )
