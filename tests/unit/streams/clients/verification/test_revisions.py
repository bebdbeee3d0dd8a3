"""Revisions and heads of one partition."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.streams.clients.verification.users_changes import (
    PARTITION,
    PARTITIONS,
    USER,
    change,
    head_of,
    memories_of,
    memory_id,
)

from schemas.ids import UserKey
from schemas.memory import Head, MemoryChange, Op
from streams.clients.verification.findings import Kind
from streams.clients.verification.revisions import PartitionFold, RevisionCheck
from streams.stores.fold import state_of
from topology import keys

TOLD = [change(1, "a"), change(2, "b"), change(3, "a", Op.REINFORCED), change(4, "b", Op.ERASED)]


def found(
    changes: Sequence[MemoryChange],
    heads: Sequence[Head],
    *,
    heads_know: int = 1000,
    carried: dict[int, Head] | None = None,
    without_vector: Sequence[int] = (),
) -> list[Kind]:
    """What is found in a history whose offsets count up from zero."""
    fold = PartitionFold(position=1000)
    check = RevisionCheck(
        partition=PARTITION,
        partitions=PARTITIONS,
        heads={head.user: head for head in heads},
        heads_know=heads_know,
    )
    kinds: list[Kind] = []
    for offset, one in enumerate(changes):
        before = fold.users[one.user].revision if one.user in fold.users else 0
        head = (carried or {}).get(offset)
        after = fold.take(offset, one, head)
        has_vector = offset not in without_vector
        kinds += [
            f.kind for f in check.judge(offset, one, head=head, has_vector=has_vector, before=before, after=after)
        ]
    return kinds + [fault.kind for fault in check.finish()]


def test_a_sound_history_passes() -> None:
    """Gapless revisions, a head that sums them up, a head on the way that does so there."""
    assert found(TOLD, [head_of(TOLD)], carried={1: head_of(TOLD[:2]), 3: head_of(TOLD)}) == []


@pytest.mark.parametrize(
    ("changes", "heads", "more", "expected"),
    [
        pytest.param([TOLD[0], *TOLD[2:]], [head_of(TOLD)], {}, Kind.REVISION_GAP, id="a change lost"),
        pytest.param([*TOLD[:2], *TOLD[1:]], [head_of(TOLD)], {}, Kind.REVISION_GAP, id="a change doubled"),
        pytest.param(TOLD[::-1], [head_of(TOLD)], {}, Kind.REVISION_GAP, id="order lost"),
        pytest.param(TOLD, [head_of(TOLD)], {"without_vector": [1]}, Kind.NO_VECTOR, id="no vector"),
        pytest.param(TOLD, [], {}, Kind.NO_HEAD, id="no head"),
        pytest.param(TOLD, [head_of(TOLD[:3])], {}, Kind.HEAD_DEPARTS, id="head behind"),
        pytest.param(TOLD[:3], [head_of(TOLD)], {}, Kind.HEAD_DEPARTS, id="head ahead"),
        pytest.param(TOLD, [head_of(TOLD, memories=2)], {}, Kind.HEAD_DEPARTS, id="head counts wrong"),
        pytest.param(TOLD, [head_of(TOLD, digest=bytes(16))], {}, Kind.HEAD_DEPARTS, id="digest wrong"),
        pytest.param(
            TOLD, [head_of(TOLD)], {"carried": {1: head_of(TOLD[:2], memories=7)}}, Kind.HEAD_DEPARTS, id="carried head"
        ),
    ],
)
def test_a_spoilt_history_is_rejected(
    changes: list[MemoryChange], heads: list[Head], more: dict[str, Any], expected: Kind
) -> None:
    """Each way in which revisions and heads can be wrong is found."""
    assert expected in found(changes, heads, **more)


def test_a_user_in_a_strange_partition_is_named() -> None:
    """Order per user holds within a partition only."""
    users = (UserKey("acme", f"s{n}") for n in range(99))
    strange = next(user for user in users if keys.partition_of(user, PARTITIONS) != PARTITION)
    told = [change(1, "a", user=strange)]
    assert found(told, [head_of(told)]) == [Kind.WRONG_PARTITION]


def test_changes_that_came_after_the_heads_were_read_may_be_ahead_of_them() -> None:
    """Beside a running worker the newest changes are newer than the heads; older ones may not be."""
    assert found(TOLD, [head_of(TOLD[:2])], heads_know=2) == []
    assert found(TOLD, [], heads_know=0) == []
    assert found(TOLD, [head_of(TOLD[:2])], heads_know=3) == [Kind.HEAD_DEPARTS]


scripts = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12)


def told_by(script: list[tuple[str, bool]]) -> list[MemoryChange]:
    """Changes of one user; each adds or reinforces a memory, or erases it."""
    return [change(n, name, Op.ERASED if erase else Op.ADDED) for n, (name, erase) in enumerate(script, 1)]


@given(scripts, st.integers(0, 12))
def test_the_fold_knows_the_user_at_the_position_and_now(script: list[tuple[str, bool]], position: int) -> None:
    """However many changes are pending, the settled state is that of the changes before it."""
    told = told_by(script)
    fold = PartitionFold(position=position)
    for offset, one in enumerate(told):
        fold.take(offset, one, head_of(told[: offset + 1]))
    if told:
        for user, changes in ((fold.settled(USER), told[:position]), (fold.users[USER], told)):
            assert user.memories == {memory.memory_id: state_of(memory) for memory in memories_of(changes)}
            assert user.revision == len(changes)
            assert user.digest == (head_of(changes).digest if changes else bytes(16))
            assert user.head == (head_of(changes) if changes else None)
        erased_later = {c.memory_id for c in told[position:] if c.op is Op.ERASED}
        assert {name for name in map(memory_id, "abc") if None in fold.later(USER, name)} == erased_later
    assert fold.pending_changes == max(0, len(told) - position)
