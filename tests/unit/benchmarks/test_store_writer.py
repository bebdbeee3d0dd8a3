"""The store's writer alone: the same rows, in the order and batches in which index has them."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.store_writer import by_turns, write_alone
from schemas.ids import UserKey, turn_memory_id
from schemas.memory import Memory
from streams.settings import Settings
from streams.stores.protocol import StoreRow

_AT = datetime(2025, 3, 1, tzinfo=UTC)


def _row(number: int) -> StoreRow:
    user = UserKey("bench", f"user-{number % 3}")
    memory = Memory(
        tenant=user.tenant,
        user_id=user.user_id,
        memory_id=turn_memory_id(user, str(number)),
        kind="turn",
        text=f"turn {number}",
        revision=number + 1,
        generation=1,
        conversation_id="c",
        role="user",
        name=None,
        slot=None,
        source_event_ids=[str(number)],
        occurred_at=_AT,
        valid_from=_AT,
        valid_to=None,
        recorded_at=_AT,
        retracted_at=None,
        superseded_by=None,
    )
    return StoreRow(memory=memory, tokens=["turn", str(number)], vector=np.full(256, 1 / 16, dtype=np.float32))


def test_partitions_take_turns() -> None:
    """Rows alternate between partitions and keep their order within one; longer ones end alone."""
    assert list(by_turns([["a1", "a2", "a3"], ["b1"]])) == ["a1", "b1", "a2", "a3"]


async def test_everything_is_written_into_an_empty_store(tmp_path: Path) -> None:
    """All rows are in the writer's own store afterwards, and the pipeline's file is not touched."""
    settings = Settings().replace("store", path=str(tmp_path / "store.db")).replace("batch", max_events=40)
    written = await write_alone(settings, [_row(number) for number in range(100)])
    assert (written.rows, written.batch) == (100, 40)
    assert written.rows_per_s > 0
    assert not (tmp_path / "store.db").exists()
