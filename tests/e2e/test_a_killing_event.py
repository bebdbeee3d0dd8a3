"""An event that kills the process is found and given up, by processes that know of each other only through the log."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.killing_extractor import DEADLY, KillingExtractor
from e2e.log_audit import assert_sound, check_log, check_store
from e2e.log_history import LogFollower
from e2e.running_worker import RunningWorker

from schemas import headers
from schemas.conversation import ConversationEnded, Turn
from schemas.outcome import DeadLetter, Reason
from streams.clients.publisher import ConversationPublisher
from streams.settings import Settings
from topology import topics
from topology.graph import StageName

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

_USERS = 60
_DEADLY_USER = 37
_MAX_DEATHS = 12
"""Two at one place, two alone, and some more while the place is approached batch by batch."""


async def test_a_window_that_kills_the_process_is_given_up_and_everything_else_goes_on(
    light_settings: Settings,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
    tmp_path: Path,
) -> None:
    """One deadly window among sixty: the worker dies a few times, then its letter holds it, and the rest is remembered.

    Each process has an instance name of its own, so nothing but the log can tell one of its predecessors' deaths.
    """
    settings = light_settings.replace("extract", extractor=f"{KillingExtractor.__module__}:{KillingExtractor.__name__}")
    settings = settings.replace("kafka", session_timeout=settings.kafka.session_timeout / 1.6)
    async with ConversationPublisher(settings) as publisher:
        await publisher.publish_many(events())

    deaths = await asyncio.to_thread(run_until_settled, settings, new_worker, follow)

    assert 4 <= deaths <= _MAX_DEATHS
    history = follow(settings).wait_until_drained(timeout_s=60)
    letters: list[DeadLetter] = [letter for _, letter in history.events(topics.DLQ, DeadLetter)]
    assert [(letter.stage, letter.reason) for letter in letters] == [(StageName.EXTRACT, Reason.UNREADABLE_WINDOW)]
    (raw,) = headers.get_all(letters[0].headers, headers.WINDOW)
    window = topics.WINDOWS.codec.decode(raw)
    assert DEADLY in window.turns[0].content
    assert window.user_id == f"user-{_DEADLY_USER}"
    assert_sound([*check_log(history), *await check_store(history, settings)])


def events() -> list[Turn | ConversationEnded]:
    """A short conversation of each user."""
    found: list[Turn | ConversationEnded] = []
    for number in range(_USERS):
        of = {"tenant": "acme", "user_id": f"user-{number}", "conversation_id": "c"}
        what = DEADLY if number == _DEADLY_USER else "tomatoes"
        found += [
            Turn(**of, event_id=f"t{number}", role="user", content=f"I grow {what} in bed {number}."),
            ConversationEnded(**of, event_id=f"e{number}"),
        ]
    return found


def run_until_settled(
    settings: Settings, new_worker: Callable[..., RunningWorker], follow: Callable[[Settings], LogFollower]
) -> int:
    """Start a worker again, under another name, as often as it dies; returns how often that was."""
    follower = follow(settings)
    for deaths in range(_MAX_DEATHS + 1):
        worker = new_worker(
            settings.replace("worker", instance=f"life-{deaths}"),
            environment={"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        worker.start()
        ends_at_s = time.monotonic() + 60
        while not worker.has_ended():
            follower.read_on()
            if not follower.history.behind():
                return deaths
            assert time.monotonic() < ends_at_s, f"not settled, and not dead:\n{worker.log_tail()}"
    raise AssertionError(f"it died {_MAX_DEATHS + 1} times, and would go on:\n{worker.log_tail()}")
