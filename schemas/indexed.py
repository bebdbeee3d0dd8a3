"""What the store now has: the notices that caches and readers follow, on `memory.indexed`."""

import msgspec

from schemas.candidate import Watermark


class IndexedUser(msgspec.Struct, frozen=True, array_like=True):
    """One user whose changes are durable in the store.

    Attributes:
        tenant: the tenant.
        user_id: the user.
        revision: the store has every change up to and including this one.
        memory_ids: the memories that these changes touched.
    """

    tenant: str
    user_id: str
    revision: int
    memory_ids: list[str]


class Indexed(msgspec.Struct, frozen=True, kw_only=True, tag="indexed", tag_field="type"):
    """One batch of one partition is durable in the store.

    Attributes:
        generation: which derived view.
        users: who changed, newest revision each.
        watermarks: how far each lane has come, here: in the store.
    """

    generation: int
    users: list[IndexedUser]
    watermarks: list[Watermark]
    v: int = 1
