"""Checks, medians and ratios of the engine benchmark."""

import pytest

from benchmarks.engine.contender import Result
from benchmarks.engine.contest import (
    CONTENDERS,
    RATIOS,
    Contender,
    ContestError,
    check,
    notes,
    ratios,
    rows,
    transaction_size,
)

_READS = Contender(name="r", module="m", mode="m", note="n")
_WRITES = Contender(name="w", module="m", mode="m", note="n", writes=True)
_SLOW = Contender(name="s", module="m", mode="m", note="n", writes=True, slow=True)


def _result(*, records: int = 4, rate_per_s: float = 2.0, in_order: bool = True, transactions: int = 0) -> Result:
    return Result(
        records=records,
        seconds=records / rate_per_s,
        cpu_s=records * 3e-6,
        in_order=in_order,
        transactions=transactions,
        options={"batch": "7"},
    )


def test_what_a_contender_claims_is_accepted_when_it_holds() -> None:
    """All records, each output once; a slow one may stop early, with more committed than it had counted."""
    check(_READS, _result(), records=4, outputs=None)
    check(_WRITES, _result(), records=4, outputs=[3, 1, 0, 2])
    check(_SLOW, _result(records=2), records=4, outputs=[0, 1, 2])


@pytest.mark.parametrize(
    ("contender", "result", "outputs"),
    [
        (_READS, _result(in_order=False), None),
        (_READS, _result(records=3), None),
        (_READS, _result(records=5), None),
        (_WRITES, _result(), [0, 1, 2, 2]),
        (_WRITES, _result(), [0, 1, 2]),
        (_WRITES, _result(), [0, 1, 2, 3, 4]),
        (_SLOW, _result(records=3), [0, 1]),
    ],
    ids=["disorder", "too few", "too many", "an output twice", "an output lost", "an output too many", "slow, lost"],
)
def test_a_claim_that_does_not_hold_is_refused(contender: Contender, result: Result, outputs: list[int] | None) -> None:
    """A number is worth nothing when records were lost, repeated or reordered on the way to it."""
    with pytest.raises(ContestError, match=contender.name):
        check(contender, result, records=4, outputs=outputs)


def test_ratios_divide_medians() -> None:
    """One round that a busy machine spoiled does not count."""
    results = {
        "consume.ours_noop": [_result(rate_per_s=rate) for rate in (300.0, 1.0, 310.0)],
        "consume.aiokafka": [_result(rate_per_s=rate) for rate in (600.0, 600.0, 9000.0)],
    }
    assert ratios(results) == {"noop_vs_aiokafka": 0.5}


def test_every_ratio_speaks_of_contenders_that_run() -> None:
    """The names that others rely on are all there, and none of them is of a row that is never measured."""
    names = {contender.name for contender in CONTENDERS}
    assert len(names) == len(CONTENDERS)
    assert all({ours, theirs} <= names for ours, theirs in RATIOS.values())
    assert set(RATIOS) == {
        "noop_vs_stock_faust",
        "noop_vs_aiokafka",
        "decode_vs_quix",
        "eos_vs_bare",
        "eos_vs_quix",
        "eos_vs_stock_faust",
    }


def test_the_bare_loop_takes_its_size_from_ours() -> None:
    """Ours runs before it, and what counts is the mean that ours really made."""
    order = [contender.name for contender in CONTENDERS]
    bare = next(contender for contender in CONTENDERS if contender.name == "eos.bare")
    assert bare.batch == 0
    assert order.index("eos.ours") < order.index("eos.bare")
    assert transaction_size(_result(records=1000, transactions=3)) == 333


def test_rows_are_medians_with_their_spread() -> None:
    """Rate, its extremes, processor time and transaction size, by contender."""
    results = {c.name: [_result(rate_per_s=rate, transactions=2) for rate in (1.0, 5.0, 2.0)] for c in CONTENDERS}
    told = {row.name: (row.value, row.unit) for row in rows(results, {})}
    assert told["eos.ours.rate"] == (2.0, "events/s")
    assert (told["eos.ours.rate_min"][0], told["eos.ours.rate_max"][0]) == (1.0, 5.0)
    assert told["eos.ours.cpu"] == (3.0, "us/event")
    assert told["eos.ours.transaction"] == (2.0, "events")


def test_a_missing_peer_keeps_its_row_and_says_why() -> None:
    """Nobody is dropped silently: not for want of a wheel, not for failing in one round of several."""
    results = {c.name: [_result()] for c in CONTENDERS if c.name != "consume.bytewax_raw"}
    told = {
        row.name: row
        for row in rows(results, {"consume.bytewax_raw": "no wheel", "eos.quix": "left out of round 2: crashed"})
    }
    assert told["consume.bytewax_raw.rate"].value is None
    assert told["consume.bytewax_raw.rounds"].unit == "rounds (no wheel)"
    assert told["eos.quix.rate"].value == 2.0
    assert told["eos.quix.rounds"].unit == "rounds (left out of round 2: crashed)"


def test_notes_tell_what_each_was_set_to() -> None:
    """Sizes and what is committed stand beside the numbers, ours above all."""
    lines = notes({"consume.ours_noop": [_result()]})
    assert len(lines) == 1
    assert "transactions" in lines[0]
    assert lines[0].endswith("; batch 7")
