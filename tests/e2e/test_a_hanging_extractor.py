"""The two lanes do not wait for each other: a model that hangs delays facts, never turns."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from e2e.hanging_extractor import ASKED_FILE, HangingExtractor
from e2e.log_history import LogFollower
from e2e.running_worker import RunningWorker

from schemas.conversation import Turn
from schemas.ids import UserKey, turn_memory_id
from streams.clients.publisher import ConversationPublisher
from streams.clients.reader import MemoryReader
from streams.settings import Settings
from topology.graph import StageName, stage

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

_LIMIT_S = 2.0
_MEASURED = 20


async def test_turns_are_searchable_within_two_seconds_while_the_extractor_hangs(
    settings: Settings,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
    tmp_path: Path,
) -> None:
    """Each of twenty turns can be found at most two seconds after it was published, though extract stands still."""
    asked = tmp_path / "asked"
    extractor = f"{HangingExtractor.__module__}:{HangingExtractor.__name__}"
    settings = settings.replace("extract", extractor=extractor, window_turns=2)
    settings = settings.replace("worker", revoke_deadline=timedelta(seconds=1))
    tests = str(Path(__file__).parents[1])
    worker = new_worker(settings, environment={"PYTHONPATH": tests, ASKED_FILE: str(asked)})
    worker.start()
    worker.wait_ready()

    async with ConversationPublisher(settings) as publisher, MemoryReader(settings) as reader:
        for number in range(8):  # warm-up: every partition is assigned, and every user's window closes
            await publish_and_find(publisher, reader, number, within_s=30)
        assert asked.exists(), "the extractor was never asked: this test would prove nothing"
        delays_s = [await publish_and_find(publisher, reader, 8 + n, within_s=10) for n in range(_MEASURED)]

    assert max(delays_s) <= _LIMIT_S, f"slowest of {sorted(delays_s)}"
    history = follow(settings).wait_until_drained(timeout_s=20, stages=[stage(StageName.RECORD)], windows_closed=False)
    extract = stage(StageName.EXTRACT)
    assert history.behind([extract]), "extract has settled everything: it did not hang"
    worker.assert_running()
    assert worker.stop() == 0, worker.log_tail()


async def publish_and_find(
    publisher: ConversationPublisher, reader: MemoryReader, number: int, *, within_s: float
) -> float:
    """Seconds from publishing a turn until a search finds it."""
    user = UserKey("acme", f"user-{number % 4}")
    turn = Turn(
        tenant=user.tenant,
        user_id=user.user_id,
        conversation_id="c",
        event_id=f"e{number}",
        role="user",
        content=f"I keep the brass lantern number {number} in the cellar.",
    )
    begun_s = time.monotonic()
    await publisher.publish(turn)
    wanted = turn_memory_id(user, f"e{number}")
    while True:
        found = await reader.search(user.user_id, turn.content, tenant=user.tenant, limit=50)
        passed_s = time.monotonic() - begun_s
        if wanted in [result.memory_id for result in found]:
            return passed_s
        assert passed_s < within_s, f"turn {number} is not searchable after {within_s} s"
        await asyncio.sleep(0.02)
