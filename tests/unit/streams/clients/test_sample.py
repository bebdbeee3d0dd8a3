"""The bundled sample: conversations to try things out with."""

from collections import Counter
from pathlib import Path

import streams
from schemas.codec import CONVERSATION_EVENTS
from schemas.conversation import AnyConversationEvent, ConversationEnded, Turn

SAMPLE = Path(streams.__file__).parent / "clients" / "sample.jsonl"


def events() -> list[AnyConversationEvent]:
    """Every line, decoded as a consumer would."""
    return [CONVERSATION_EVENTS.decode(line) for line in SAMPLE.read_bytes().splitlines()]


def test_every_line_is_an_event_with_fixed_id_and_time() -> None:
    """Publishing the sample twice, on any day, publishes the same events."""
    assert all(event.event_id and event.occurred_at and event.tenant == "demo" for event in events())


def test_one_event_comes_twice() -> None:
    """The sample shows that a retry changes nothing: one event is in it twice, unchanged."""
    (repeated,) = [event_id for event_id, count in Counter(event.event_id for event in events()).items() if count > 1]
    first, second = [event for event in events() if event.event_id == repeated]
    assert first == second


def test_every_conversation_ends_after_its_turns() -> None:
    """Each user's conversations follow each other in time, and each is closed once."""
    open_conversations: set[str] = set()
    ended: list[str] = []
    for event in events():
        assert isinstance(event, Turn | ConversationEnded)
        assert event.conversation_id not in ended
        if isinstance(event, Turn):
            open_conversations.add(event.conversation_id)
        else:
            open_conversations.remove(event.conversation_id)
            ended.append(event.conversation_id)
    assert not open_conversations


def test_several_users_speak_two_languages() -> None:
    """English and Chinese, people and an assistant, more than one user."""
    turns = [event for event in events() if isinstance(event, Turn)]
    assert len({turn.user_id for turn in turns}) >= 3
    assert {turn.role for turn in turns} == {"user", "assistant"}
    assert any("\u4e00" <= character <= "\u9fff" for turn in turns for character in turn.content)
    assert any(turn.content.isascii() for turn in turns)
