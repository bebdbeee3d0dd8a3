"""The main job at its smallest honest size: 2,000 turns of 100 users on the full stack."""

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from e2e.conversations import Conversations, generate, memory_id_of
from e2e.log_audit import assert_sound, audit, fold_of
from e2e.log_history import LogFollower, LogHistory
from e2e.running_worker import RunningWorker

from schemas.memory import MemoryChange, Op
from streams.clients.publisher import ConversationPublisher
from streams.clients.reader import MemoryReader
from streams.settings import Settings
from topology.topics import CHANGES

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

_SEARCHED = 60


async def test_turns_are_remembered_once_and_publishing_them_again_changes_nothing(
    settings: Settings,
    seed: int,
    new_worker: Callable[..., RunningWorker],
    follow: Callable[[Settings], LogFollower],
) -> None:
    """Every turn is stored, searchable and announced once, the books balance, and a second time adds nothing."""
    settings = settings.replace("extract", idle_after=timedelta(seconds=2))
    conversations = generate(seed, users=100, turns=2000)
    assert len(conversations.turns) >= 2000
    worker = new_worker(settings)
    worker.start()
    worker.wait_ready()
    follower = follow(settings)

    await publish(settings, conversations)
    history = follower.wait_until_drained(timeout_s=90)
    assert_sound(await audit(history, settings))
    assert_every_turn_added_once(history, conversations)
    await assert_searchable(settings, conversations, random.Random(seed))
    changes, memories = list(history.events(CHANGES, MemoryChange)), fold_of(history)
    assert {change.kind for _, change in changes} == {"turn", "fact"}

    await publish(settings, conversations)
    history = follower.wait_until_drained(timeout_s=90)
    assert list(history.events(CHANGES, MemoryChange)) == changes
    assert fold_of(history) == memories
    assert_sound(await audit(history, settings))
    worker.assert_running()
    assert worker.stop() == 0, worker.log_tail()


async def publish(settings: Settings, conversations: Conversations) -> None:
    """Publish everything, in order, and wait for the log to have it."""
    async with ConversationPublisher(settings) as publisher:
        await publisher.publish_many(conversations.events)


def assert_every_turn_added_once(history: LogHistory, conversations: Conversations) -> None:
    """One `added` change for each turn that was published, and none for any other."""
    added = [c.memory_id for _, c in history.events(CHANGES, MemoryChange) if c.kind == "turn" and c.op is Op.ADDED]
    assert sorted(added) == sorted(memory_id_of(turn) for turn in conversations.turns)


async def assert_searchable(settings: Settings, conversations: Conversations, chance: random.Random) -> None:
    """A sample of turns of both languages is found by its own words, and by no other user."""
    english = [turn for turn in conversations.turns if conversations.language[turn.user] == "en"]
    chinese = [turn for turn in conversations.turns if conversations.language[turn.user] == "zh"]
    async with MemoryReader(settings) as reader:
        for turn in [*chance.sample(english, _SEARCHED // 2), *chance.sample(chinese, _SEARCHED // 2)]:
            found = await reader.search(turn.user_id, turn.content, tenant=turn.tenant, limit=5)
            assert memory_id_of(turn) in [result.memory_id for result in found], (
                f"{turn.user} said {turn.content!r}, found were {[(r.kind, r.text) for r in found]}"
            )
            stranger = f"{turn.user_id}-twin"
            assert await reader.search(stranger, turn.content, tenant=turn.tenant, limit=5) == []
