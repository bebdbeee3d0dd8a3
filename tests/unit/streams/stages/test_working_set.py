"""A user's memories while a batch is decided."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas.candidate import Kind
from schemas.ids import UserKey
from schemas.memory import Fence, Head, Memory, MemoryChange, Op, replace_in_digest
from streams.stages.working_set import Draft, UserMemories, digest_of, fold

_AT = datetime(2025, 3, 1, tzinfo=UTC)
_USER = UserKey("t", "u")
_EMPTY = Head(tenant="t", user_id="u", generation=1, forgets=2, fences=[Fence("user", 7)])


def _change(memory_id: str, op: Op, revision: int, kind: Kind) -> MemoryChange:
    return MemoryChange(
        change_id=f"{memory_id}-{revision}", op=op, cause="c", generation=1, tenant="t", user_id="u", revision=revision,
        memory_id=memory_id, kind=kind, conversation_id="c", role="user", name=None, slot=None, source_event_ids=["e"],
        occurred_at=_AT, valid_from=_AT, valid_to=None, recorded_at=_AT, retracted_at=None, superseded_by=None,
        text=f"says {memory_id}",
    )  # fmt: skip


def _changes(touched: list[int]) -> list[MemoryChange]:
    """Even numbers are turns, which are only added; odd ones are facts, which are reinforced when they come again."""
    seen: set[int] = set()
    changes: list[MemoryChange] = []
    for number in touched:
        if number % 2 == 0 and number in seen:
            continue
        op = Op.REINFORCED if number in seen else Op.ADDED
        changes.append(_change(f"m{number}", op, len(changes) + 1, "fact" if number % 2 else "turn"))
        seen.add(number)
    return changes


@given(st.lists(st.integers(0, 9)), st.integers(0, 30))
def test_a_draft_sums_up_its_changes(touched: list[int], committed: int) -> None:
    """However changes are spread over two batches, the head is what its memories say, and what one step each gives."""
    changes = _changes(touched)
    user, digest = UserMemories(_EMPTY), bytes(16)
    for batch in (changes[:committed], changes[committed:]):
        draft = Draft(user)
        for change in batch:
            before = draft.fact(change.memory_id)
            old_revision = before.revision if before is not None else None
            digest = replace_in_digest(
                digest, change.memory_id, old_revision=old_revision, new_revision=change.revision
            )
            draft.apply(change)
        user = draft.merge()
    memories: list[Memory] = list(fold(changes).get(_USER, {}).values())
    assert user.head == Head(
        tenant="t",
        user_id="u",
        generation=1,
        revision=len(changes),
        digest=digest,
        memories=len(memories),
        forgets=2,
        fences=[Fence("user", 7)],
    )
    assert user.head.digest == digest_of(memories)
