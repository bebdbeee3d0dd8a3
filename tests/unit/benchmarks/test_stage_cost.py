"""What a turn costs: rounds, rows and ratios."""

from pathlib import Path

from benchmarks.stage_cost import compared, rows, run_round
from benchmarks.stage_round import Cost, Round
from topology.graph import GRAPH

_CHECKOUT = Path(__file__).parents[3]


def _round(record_s: float, embed_s: float) -> Round:
    stages = {"record": Cost(10, {"decode": record_s / 2, "decide": record_s / 2, "encode": record_s})}
    return Round(stages=stages | {"embed": Cost(10, {"decide": embed_s})}, digest="d")


def test_a_round_runs_every_stage_and_repeats_itself() -> None:
    """Two rounds of the same turns consume the same records in every stage and write the same bytes."""
    first, again = (run_round(_CHECKOUT, turns=100, users=5) for _ in range(2))
    assert list(first.stages) == [spec.name for spec in GRAPH]
    assert all(cost.records > 0 and cost.own_s > 0 for cost in first.stages.values())
    assert first.digest == again.digest
    assert [cost.records for cost in first.stages.values()] == [cost.records for cost in again.stages.values()]


def test_rows_are_the_least_a_turn() -> None:
    """The round that took least counts; encoding is a part of deciding and is not added to the stage again."""
    found = {r.name: r.value for r in rows([_round(3, 3), _round(2, 2), _round(9, 9)], turns=1_000_000)}
    assert found == {
        "record": 2,
        "record.decode": 1,
        "record.decide": 1,
        "record.encode": 2,
        "embed": 2,
        "embed.decide": 2,
        "all": 4,
    }


def test_ratios_say_how_much_longer_the_other_takes() -> None:
    """Twice the time in the other checkout is a ratio of 2."""
    assert compared([_round(1, 1)], [_round(2, 4)], turns=10) == {
        "record_against": 2,
        "embed_against": 4,
        "all_against": 3,
    }
