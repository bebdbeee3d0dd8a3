"""The store and the cache beside the fold of the changes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.streams.clients.verification.users_changes import USER, change, head_of, memories_of, memory_id

from schemas.memory import Head, Memory, MemoryChange, Op
from streams.clients.verification import stored
from streams.clients.verification.findings import Kind
from streams.clients.verification.revisions import PartitionFold
from streams.clients.verification.stored import Suspects

TOLD = [change(1, "a"), change(2, "b"), change(3, "a", Op.REINFORCED), change(4, "b", Op.ERASED), change(5, "c")]


def folded(changes: list[MemoryChange], position: int) -> PartitionFold:
    """The changes of one user, each with its head."""
    fold = PartitionFold(position=position)
    for offset, one in enumerate(changes):
        fold.take(offset, one, head_of(changes[: offset + 1]))
    return fold


def suspects_of(fold: PartitionFold, memories: list[Memory], head: Head | None) -> Suspects:
    suspects = Suspects()
    suspects.suspect_memories(fold, USER, memories)
    suspects.suspect_heads(fold, [USER], {} if head is None else {USER: head})
    return suspects


def found(fold: PartitionFold, memories: list[Memory], head: Head | None) -> list[Kind]:
    suspects = suspects_of(fold, memories, head)
    return [f.kind for f in [*stored.check_memories(fold, suspects), *stored.check_heads(fold, suspects)]]


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_store_at_or_ahead_of_the_position_is_sound_and_one_behind_it_is_not(position: int, store_at: int) -> None:
    """Whatever index wrote meanwhile is explained by pending changes; what it had settled must be there."""
    fold = folded(TOLD, position)
    faults = found(fold, memories_of(TOLD[:store_at]), head_of(TOLD[:store_at]) if store_at else None)
    assert bool(faults) == (store_at < position)


def test_a_store_that_index_is_just_writing_to_is_sound() -> None:
    """Some memories are ahead and others not yet, and the head comes last: that is no damage."""
    fold = folded(TOLD, 2)
    before, after = {m.memory_id: m for m in memories_of(TOLD[:2])}, {m.memory_id: m for m in memories_of(TOLD)}
    half_written = [after[memory_id("a")], before[memory_id("b")]]
    assert found(fold, half_written, head_of(TOLD[:2])) == []


SOUND = memories_of(TOLD)
HEAD = head_of(TOLD)
OLD_A, B = memories_of(TOLD[:2])


@pytest.mark.parametrize(
    ("memories", "head", "expected"),
    [
        pytest.param(SOUND, HEAD, [], id="sound"),
        pytest.param(SOUND[:1], HEAD, [Kind.MISSING], id="one missing"),
        pytest.param([], HEAD, [Kind.MISSING, Kind.MISSING], id="all missing"),
        pytest.param([OLD_A, *[m for m in SOUND if m.memory_id != OLD_A.memory_id]], HEAD, [Kind.OLDER], id="older"),
        pytest.param([*SOUND, B], HEAD, [Kind.SURPLUS], id="erased but there"),
        pytest.param(
            [msgspec.structs.replace(SOUND[0], text="something else"), *SOUND[1:]], HEAD, [Kind.DIFFERENT], id="text"
        ),
        pytest.param(
            [msgspec.structs.replace(SOUND[0], revision=99), *SOUND[1:]], HEAD, [Kind.DIFFERENT], id="from nowhere"
        ),
        pytest.param(SOUND, None, [Kind.STORE_HEAD_BEHIND], id="no head"),
        pytest.param(SOUND, head_of(TOLD[:4]), [Kind.STORE_HEAD_BEHIND], id="older head"),
        pytest.param(SOUND, head_of(TOLD, digest=bytes(16)), [Kind.STORE_HEAD_DEPARTS], id="another digest"),
        pytest.param(SOUND, head_of(TOLD, revision=9), [Kind.STORE_HEAD_DEPARTS], id="head from the future"),
    ],
)
def test_a_store_that_differs_is_rejected(memories: list[Memory], head: Head | None, expected: list[Kind]) -> None:
    """Each way in which a store can be wrong is found, and nothing else."""
    assert found(folded(TOLD, 5), memories, head) == expected


def test_a_plan_mends_what_is_wrong_and_nothing_else() -> None:
    """Missing and older memories are written as the log has them now, what it has not is deleted, the head is put."""
    older_a = OLD_A
    suspects = suspects_of(folded(TOLD, 5), [older_a, B], head_of(TOLD[:2]))
    plan = stored.plan_for(folded(TOLD, 5), suspects)
    assert plan.rows == {(USER, memory_id("a")): 3, (USER, memory_id("c")): 5}
    assert plan.deletions == {USER: [memory_id("b")]}
    assert plan.heads == [HEAD]
    assert not stored.plan_for(folded(TOLD, 5), suspects_of(folded(TOLD, 5), SOUND, HEAD))


def test_a_revision_from_nowhere_is_deleted_before_the_true_one_is_written() -> None:
    """A store that refuses older revisions would keep it otherwise."""
    strange = msgspec.structs.replace(SOUND[0], revision=99)
    plan = stored.plan_for(folded(TOLD, 5), suspects_of(folded(TOLD, 5), [strange, *SOUND[1:]], HEAD))
    assert plan.deletions == {USER: [strange.memory_id]}
    assert plan.rows == {(USER, strange.memory_id): SOUND[0].revision}


def test_a_version_that_index_never_announced_is_found() -> None:
    """One that is announced meanwhile is not."""
    suspects = Suspects()
    suspects.suspect_versions({USER: 3}.__getitem__, {USER: 3})
    assert not suspects
    suspects.suspect_versions({USER: 3}.__getitem__, {USER: 4})
    assert [fault.kind for fault in stored.check_versions({USER: 3}.__getitem__, suspects)] == [Kind.VERSION_AHEAD]
    assert list(stored.check_versions({USER: 4}.__getitem__, suspects)) == []
