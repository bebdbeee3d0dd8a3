"""Conversations of people who keep moving house: every new address supersedes the one before, so memories change."""

import random
from datetime import UTC, datetime, timedelta

from e2e.conversations import Conversations

from schemas.conversation import ConversationEnded, ConversationEvent, Turn
from schemas.ids import UserKey

_START = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)
_PLACES = ("Lisbon", "Galway", "Turin", "Bergen", "Nantes", "Porto", "Leipzig", "Tampere", "Ghent", "Cardiff")


def generate_moves(seed: int, *, users: int, moves: int) -> Conversations:
    """So many moves of so many users, one conversation each, all ended."""
    chance = random.Random(seed)
    lives_in: dict[UserKey, str] = {}
    people = [UserKey(chance.choice(["acme", "default"]), f"user-{number:03d}") for number in range(users)]
    events: list[ConversationEvent] = []
    for number in range(moves):
        user = people[number % users]
        lives_in[user] = chance.choice([place for place in _PLACES if place != lives_in.get(user)])
        conversation_id = f"{user.user_id}-c{number}"
        events.append(
            Turn(
                tenant=user.tenant,
                user_id=user.user_id,
                conversation_id=conversation_id,
                event_id=f"{user.user_id}-e{number}",
                role="user",
                content=f"I live in {lives_in[user]} now.",
                occurred_at=_START + timedelta(hours=number),
            )
        )
        events.append(
            ConversationEnded(
                tenant=user.tenant,
                user_id=user.user_id,
                conversation_id=conversation_id,
                event_id=f"{conversation_id}-end",
            )
        )
    return Conversations(events=events, language=dict.fromkeys(people, "en"))
