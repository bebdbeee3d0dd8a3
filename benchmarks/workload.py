"""Conversations to load a pipeline with: made from a seed, so that two runs publish the same bytes.

Lengths follow what chats look like: most turns are one or two sentences, a tenth are long. About a quarter of what
people say states something that the rules extractor finds; a tenth of the users write Chinese.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from schemas import ids
from schemas.conversation import Turn
from topology import keys

_EPOCH = datetime(2025, 3, 1, 8, 0, tzinfo=UTC)
_BETWEEN_TURNS = timedelta(milliseconds=100)
_TURNS_OF_A_CONVERSATION = 16
_CHINESE_RATIO = 0.1
_FACT_RATIO = 0.25

_CITIES = ("Berlin", "Lisbon", "Osaka", "Toronto", "Nairobi", "Porto", "Helsinki", "Lima", "Seoul", "Denver")
_JOBS = ("a nurse", "a teacher", "a carpenter", "a data analyst", "a gardener", "a pilot", "a baker", "an architect")
_LIKES = ("hiking", "jazz", "sourdough", "chess", "old maps", "cycling", "pottery", "crime novels", "spicy food")
_PETS = ("a grey cat", "two dogs", "a parrot", "an old horse", "a tortoise")
_NAMES = ("Maria", "Jonas", "Aisha", "Kenji", "Lucia", "Tom", "Priya", "Elena", "Samuel", "Noor")

_FACTS = (
    "I live in {city}.",
    "I moved to {city} last {season}.",
    "I work as {job}.",
    "I really like {like}.",
    "I have {pet}.",
    "My sister works as {job}.",
    "I'm allergic to peanuts.",
    "My favourite thing to do is {like}.",
)
_SMALL_TALK = (
    "How did the appointment on {day} go?",
    "It has been raining here since {day}, and the trains were late again.",
    "Could you remind me what we said about the trip to {city}?",
    "Thanks, that helps a lot.",
    "We tried the new place near the station, and the soup was better than expected.",
    "That sounds great, let's talk about it on {day}.",
    "Not sure yet, I will know more once {name} has answered.",
    "The meeting took two hours and nobody could agree on a date.",
    "Here are a few options: leave early on {day}, take the night train, or fly through {city}.",
    "If the budget allows it, a smaller room with a desk would be the quieter choice for {like}.",
    "{name} asked whether the photos from {city} are already sorted.",
    "Let me sum up: the tickets are booked, the flat is free until {day}, and {name} brings the keys.",
)
_CHINESE_FACTS = ("我住在上海。", "我在一家医院工作。", "我喜欢打羽毛球。", "我有一只猫。", "我对花生过敏。")
_CHINESE_TALK = (
    "今天的天气很好,我们去公园走走吧。",
    "会议改到星期三下午了。",
    "谢谢你的帮助。",
    "那家新开的餐厅味道不错,下次一起去。",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SEASONS = ("spring", "summer", "autumn", "winter")


@dataclass(frozen=True, slots=True)
class Event:
    """One turn as it is published.

    Attributes:
        turn: what is said.
        key: of the record.
        value: of the record.
        memory_id: the memory that it becomes.
    """

    turn: Turn
    key: bytes
    value: bytes
    memory_id: str


def conversations(*, turns: int, users: int, seed: int, run: str, day: int = 0) -> list[Event]:
    """Turns of many users, interleaved as a log has them.

    Args:
        turns: how many.
        users: of how many people; each next turn is of one of them, all as likely.
        seed: the same one gives the same texts, users and times.
        run: goes into the event ids, so that two loads on one log are two.
        day: on which they are said; among texts that are alike, search puts the newest first.
    """
    draw = random.Random(seed)  # noqa: S311  (load, not secrets)
    return list(_events(turns, users, draw, run, _EPOCH + timedelta(days=day)))


def _events(turns: int, users: int, draw: random.Random, run: str, start: datetime) -> Iterator[Event]:
    said = [0] * users
    chinese = [draw.random() < _CHINESE_RATIO for _ in range(users)]
    for number in range(turns):
        user = draw.randrange(users)
        so_far = said[user]
        said[user] += 1
        by_person = so_far % 2 == 0
        turn = Turn(
            tenant="bench",
            user_id=f"user-{user:05d}",
            conversation_id=f"{run}-{so_far // _TURNS_OF_A_CONVERSATION}",
            event_id=f"{run}-{number:07d}",
            role="user" if by_person else "assistant",
            name=_NAMES[user % len(_NAMES)] if by_person else None,
            content=_content(draw, chinese=chinese[user], states_facts=by_person),
            occurred_at=start + number * _BETWEEN_TURNS,
        )
        assert turn.event_id is not None
        yield Event(
            turn=turn,
            key=keys.user_key_bytes(turn.user),
            value=msgspec.json.encode(turn),
            memory_id=ids.turn_memory_id(turn.user, turn.event_id),
        )


def _content(draw: random.Random, *, chinese: bool, states_facts: bool) -> str:
    facts, talk = (_CHINESE_FACTS, _CHINESE_TALK) if chinese else (_FACTS, _SMALL_TALK)
    sentences = min(12, 1 + int(draw.expovariate(0.9)))
    parts = [_filled(draw.choice(talk), draw) for _ in range(sentences)]
    if states_facts and draw.random() < 2 * _FACT_RATIO:  # half of all turns are people's
        parts[draw.randrange(sentences)] = _filled(draw.choice(facts), draw)
    return "".join(parts) if chinese else " ".join(parts)


def _filled(template: str, draw: random.Random) -> str:
    return template.format(
        city=draw.choice(_CITIES),
        job=draw.choice(_JOBS),
        like=draw.choice(_LIKES),
        pet=draw.choice(_PETS),
        name=draw.choice(_NAMES),
        day=draw.choice(_DAYS),
        season=draw.choice(_SEASONS),
    )
