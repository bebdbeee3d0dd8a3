"""Changes of users as consolidate would announce them, for checks of histories."""

from typing import Any

from unit.streams.clients.log_of_messages import START

from schemas.ids import UserKey, derive
from schemas.memory import Head, Memory, MemoryChange, Op
from streams.stages.working_set import digest_of, fold
from topology import keys

PARTITIONS = 4
USER = UserKey("acme", "u1")
PARTITION = keys.partition_of(USER, PARTITIONS)


def memory_id(name: str) -> str:
    """The id of a memory that a test names."""
    return derive("test", name)


def change(revision: int, name: str, op: Op = Op.ADDED, *, user: UserKey = USER, text: str = "") -> MemoryChange:
    """One change of a memory."""
    said: dict[str, Any] = {} if op is Op.ERASED else {"text": text or f"{name} at {revision}"}
    return MemoryChange(
        change_id=f"{user}-{revision}",
        op=op,
        cause="e",
        generation=1,
        tenant=user.tenant,
        user_id=user.user_id,
        revision=revision,
        memory_id=memory_id(name),
        kind="fact",
        conversation_id="c1",
        role="user",
        name=None,
        slot=None,
        source_event_ids=["e"],
        occurred_at=START,
        valid_from=START,
        valid_to=None,
        recorded_at=START,
        retracted_at=None,
        superseded_by=None,
        **said,
    )


def head_of(changes: list[MemoryChange], **fields: Any) -> Head:
    """The head of one user after these changes, with some of it changed."""
    user = changes[-1].user
    memories = fold(changes)[user].values()
    true = {"revision": changes[-1].revision, "digest": digest_of(memories), "memories": len(memories)}
    return Head(tenant=user.tenant, user_id=user.user_id, generation=1, **{**true, **fields})  # type: ignore[arg-type]


def memories_of(changes: list[MemoryChange]) -> list[Memory]:
    """What a store has after these changes of one user."""
    return list(fold(changes).get(changes[-1].user, {}).values()) if changes else []
