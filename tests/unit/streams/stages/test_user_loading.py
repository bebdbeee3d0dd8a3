"""How consolidate gets at a user's memories when the store does not answer as it should."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from in_process_log import InProcessLog, ManualClock
from unit.streams.stages.test_store_check import PARTITION, open_store, say, settle

from schemas import headers
from schemas.ids import UserKey
from schemas.memory import Head, Memory
from streams.errors import TransientError
from streams.stages.user_loading import UserLoader
from streams.stages.working_set import fold
from streams.stores.protocol import Store
from topology import topics


class DeafStore:
    """Knows its heads; no reading of memories succeeds.

    Args:
        store: says the heads.
        clock: moved by each call.
        heads_take_s: for so long.
        memories_take_s: for so long, until their error.
    """

    def __init__(self, store: Store, clock: ManualClock, *, heads_take_s: float, memories_take_s: float) -> None:
        self._store = store
        self._clock = clock
        self._heads_take_s = heads_take_s
        self._memories_take_s = memories_take_s
        self.asked = 0

    async def heads(self, users: Sequence[UserKey]) -> dict[UserKey, Head]:
        self._clock.seconds += self._heads_take_s
        return await self._store.heads(users)

    async def memories(self, user: UserKey) -> list[Memory]:
        self.asked += 1
        self._clock.seconds += self._memories_take_s
        raise TransientError("no answer")


@pytest.mark.parametrize(
    ("heads_take_s", "memories_take_s"), [(0.0, 8.0), (8.0, 0.0)], ids=["runs into its timeout", "refuses at once"]
)
async def test_a_store_that_never_gives_memories_leads_to_the_log(
    tmp_path: Path, heads_take_s: float, memories_take_s: float
) -> None:
    """Its heads match, but no memory is read: past the deadline the log says it, after one call a round at most."""
    log = InProcessLog()
    told = say(log, [(number % 40, number % 80, False) for number in range(200)])
    store = await open_store(tmp_path / "store.db")
    await settle(log, store, len(told))
    newest = {change.user: record for change, record in zip(told, log.records[topics.CHANGES.name, 0], strict=True)}
    heads = [topics.HEADS.codec.decode(headers.get(record.headers, headers.HEAD) or b"") for record in newest.values()]
    deaf = DeafStore(store, log.clock, heads_take_s=heads_take_s, memories_take_s=memories_take_s)
    loader = UserLoader(deaf, reader=log, clock=log.clock, load_deadline=timedelta(seconds=20))  # type: ignore[arg-type]
    loaded = await loader.load(PARTITION, heads)
    await store.close()

    known = fold(told)
    assert {user.head.user: user.turn_ids for user in loaded} == {u: set(memories) for u, memories in known.items()}
    assert log.clock.seconds >= 20
    assert 0 < deaf.asked <= 3
