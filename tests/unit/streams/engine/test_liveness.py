"""Laws of liveness: who moves is well, who stands still for longer than the limit is stuck, and nobody else is."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.liveness import Condition, Motion, StageFacts, StageWatch, Standstill, Verdict
from topology.graph import StageName

LIMIT_S = 60.0
UNREADY_S = 15.0
GAP_S = 5.0
GAPS = st.floats(0.0, 1000.0)
SHORT_GAPS = st.floats(0.0, GAP_S)


def new_watch(*, stuck_after_s: float = LIMIT_S, unready_after_s: float = UNREADY_S) -> StageWatch:
    """A watch on extract."""
    return StageWatch(
        StageName.EXTRACT,
        stuck_after=timedelta(seconds=stuck_after_s),
        unready_after=timedelta(seconds=unready_after_s),
        max_gap=timedelta(seconds=GAP_S),
    )


def watched_for(watch: StageWatch, facts: StageFacts, seconds: int, *, polls: int = 0, from_s: int = 0) -> Verdict:
    """The verdict after looking at the same facts each second; only the polling thread goes on."""
    verdict = watch.look(facts, now_s=from_s)
    for second in range(1, seconds + 1):
        seen = StageFacts(**vars(facts) | {"polls": polls + second if facts.polls == 0 else facts.polls})
        verdict = watch.look(seen, now_s=from_s + second)
    return verdict


@given(st.lists(st.tuples(GAPS, st.booleans()), min_size=1, max_size=30))
def test_a_standstill_is_never_longer_than_the_time_since_the_last_move(looks: list[tuple[float, bool]]) -> None:
    """Whatever the looks, nothing is said to stand for longer than it did, nor longer than the gaps that count."""
    standstill: Standstill[str] = Standstill(max_gap=timedelta(seconds=GAP_S))
    now_s, moved_at_s, mark, counted_s = 0.0, 0.0, 0, 0.0
    for number, (gap_s, moves) in enumerate(looks):
        now_s += gap_s
        counted_s += min(gap_s, GAP_S) if number else 0.0
        if moves or not number:
            mark, moved_at_s, counted_s = mark + 1, now_s, 0.0
        still_s = standstill.look({"it": mark}, now_s=now_s)["it"]
        assert still_s <= now_s - moved_at_s + 1e-6
        assert still_s == pytest.approx(counted_s)


@given(st.lists(SHORT_GAPS, max_size=30))
def test_a_standstill_that_was_watched_is_as_long_as_it_is(gaps_s: list[float]) -> None:
    """With looks close together, the standstill is the time since the first of them."""
    standstill: Standstill[str] = Standstill(max_gap=timedelta(seconds=GAP_S))
    standstill.look({"it": 1}, now_s=0.0)
    now_s = 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        standstill.look({"it": 1}, now_s=now_s)
    assert standstill.look({"it": 1}, now_s=now_s)["it"] == pytest.approx(now_s)


@given(st.data())
def test_a_stage_that_settles_something_within_the_limit_is_never_stuck(data: st.DataObject) -> None:
    """However much waits, and however slow it is, a stage that moves within the limit is not stuck."""
    watch = new_watch()
    now_s, moved_at_s, settled, retries = 0.0, 0.0, 0, 0
    for polls, gap_s in enumerate(data.draw(st.lists(SHORT_GAPS, max_size=60))):
        now_s += gap_s
        retries += data.draw(st.integers(0, 3))
        if now_s - moved_at_s > LIMIT_S - GAP_S or data.draw(st.booleans()):
            settled, moved_at_s = settled + 1, now_s
        waiting = data.draw(st.dictionaries(st.integers(0, 3), st.integers(0, 9)))
        facts = StageFacts(polls=polls, settled=settled, retries=retries, unsettled=waiting)
        assert watch.look(facts, now_s=now_s).condition is not Condition.STUCK


@given(
    st.sampled_from(
        [
            (Motion.STARTING, StageFacts(opened=False)),
            (Motion.POLLING, StageFacts(polls=7)),
            (Motion.LOADING, StageFacts(loading=frozenset({1}))),
            (Motion.SETTLING, StageFacts(unsettled={2: 17}, settled=5)),
        ]
    ),
    st.lists(SHORT_GAPS, min_size=1, max_size=60),
)
def test_a_stage_is_stuck_exactly_when_something_stands_still_past_the_limit(
    case: tuple[Motion, StageFacts], gaps_s: list[float]
) -> None:
    """Of everything that must move, one that does not is stuck as soon as the limit has passed, and not before."""
    motion, facts = case
    watch = new_watch()
    watch.look(facts, now_s=0.0)
    now_s = 0.0
    for number, gap_s in enumerate(gaps_s):
        now_s += gap_s
        polls = facts.polls if motion is Motion.POLLING else number + 1
        verdict = watch.look(StageFacts(**vars(facts) | {"polls": polls}), now_s=now_s)
        assert (verdict.condition is Condition.STUCK) == (verdict.still_s > LIMIT_S)
        if verdict.condition is Condition.STUCK:
            assert verdict.motion is motion
    assert verdict.still_s == pytest.approx(now_s)


def test_a_stage_with_nothing_to_do_is_well() -> None:
    """Idle for an hour, with and without partitions, is well."""
    for loaded in (frozenset[int](), frozenset({0, 1})):
        verdict = watched_for(new_watch(), StageFacts(loaded=loaded, settled=100), 3600)
        assert verdict.condition is Condition.OK
        assert not verdict.reason


def test_work_that_comes_after_a_long_rest_has_its_full_time() -> None:
    """The hours without input do not count for the first record that comes."""
    watch = new_watch()
    watched_for(watch, StageFacts(settled=100), 3600)

    verdict = watched_for(watch, StageFacts(settled=100, unsettled={0: 100}), 59, polls=4000, from_s=3601)

    assert verdict.condition is Condition.OK
    assert verdict.still_s == 59


def test_a_process_that_was_halted_is_not_stuck_when_it_wakes() -> None:
    """An hour in which nobody looked counts as a few seconds."""
    watch = new_watch()
    facts = StageFacts(unsettled={0: 1})
    watch.look(facts, now_s=0.0)

    verdict = watch.look(facts, now_s=3600.0)

    assert verdict.condition is Condition.OK
    assert verdict.still_s == GAP_S


def test_what_is_stuck_says_stage_partition_age_limit_and_that_it_hangs() -> None:
    """A hang is told apart from a dependency that is away, and where it waits is named."""
    verdict = watched_for(new_watch(), StageFacts(unsettled={3: 17}, settled=17, retries=4), 61)

    assert verdict.reason == (
        "extract has settled nothing for 61 s while records wait in partition 3 from offset 17 (limit 60 s);"
        " no call has failed meanwhile: it hangs, or one call takes that long"
    )


def test_a_stage_that_only_repeats_what_fails_is_hindered_and_then_stuck() -> None:
    """While a store is away a stage is first not ready, and past the limit stuck too; the cause is said in both."""
    watch = new_watch()
    conditions = []
    for second in range(62):
        facts = StageFacts(polls=second, unsettled={0: 5}, retries=10 + second // 3)
        verdict = watch.look(facts, now_s=second)
        conditions.append(verdict.condition)

    assert conditions == [Condition.OK] * 16 + [Condition.HINDERED] * 45 + [Condition.STUCK]
    assert "failed calls repeated meanwhile: 20, so what it needs is away" in verdict.reason


def test_a_slow_call_that_does_not_fail_leaves_a_stage_ready() -> None:
    """A model that takes half a minute for its answer is no fault."""
    verdict = watched_for(new_watch(), StageFacts(unsettled={0: 5}), 30)

    assert verdict.condition is Condition.OK


def test_a_stage_that_starts_says_so() -> None:
    """A stage that connects is neither well nor stuck."""
    verdict = watched_for(new_watch(), StageFacts(opened=False), 10)

    assert verdict.condition is Condition.STARTING
    assert verdict.reason.startswith("extract has been starting for 10 s;")


def test_each_partition_that_is_loaded_is_progress() -> None:
    """Loading many partitions one by one may take longer than the limit."""
    watch = new_watch()
    now = 0
    for left in range(4, 0, -1):
        facts = StageFacts(loading=frozenset(range(left)))
        verdict = watched_for(watch, facts, 50, polls=now, from_s=now)
        now += 51
        assert verdict.condition is Condition.OK

    assert watched_for(watch, facts, 61, polls=now, from_s=now).condition is Condition.STUCK


def test_limits_of_zero_are_none() -> None:
    """Whoever sets a limit to zero is never told."""
    verdict = watched_for(new_watch(stuck_after_s=0, unready_after_s=0), StageFacts(unsettled={0: 1}), 5000)

    assert verdict.condition is Condition.OK
