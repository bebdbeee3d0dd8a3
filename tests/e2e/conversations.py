"""Conversations from a seed: many users, several conversations each, two languages, every turn in words of its own."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.conversation import ConversationEnded, ConversationEvent, Turn
from schemas.ids import UserKey, turn_memory_id

_START = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)

_ENGLISH = {
    "place": "Lisbon Galway Turin Bergen Nantes Porto Leipzig Tampere Ghent Cardiff Malaga Krakow",
    "thing": "compass lantern violin kettle atlas telescope typewriter bicycle clock tent camera mirror",
    "quality": "brass wooden silver broken painted tiny heavy antique green folding leather borrowed",
    "person": "Dora Anselm Ines Piotr Maud Jonas Freya Callum Nadia Ruben Elsa Tobias",
}
_CHINESE = {
    "place": "青岛 成都 杭州 西安 昆明 厦门 苏州 大连 桂林 洛阳 长沙 拉萨",
    "thing": "地图 茶壶 相机 毛笔 自行车 风筝 闹钟 帐篷 口琴 雨伞 镜子 砚台",
    "quality": "蓝色的 古老的 木头的 破旧的 精致的 小小的 沉重的 银色的 折叠的 借来的 手工的 漂亮的",
    "person": "小芳 建国 丽华 志强 雪梅 大伟 晓明 文静 海涛 春燕 子轩 美玲",
}
_SAID = {
    "en": (
        _ENGLISH,
        (
            "I live in {place} now, and I keep a {quality} {thing} at home.",
            "I bought a {quality} {thing} in {place} for {person}.",
            "{person} lost the {quality} {thing} on the train to {place}.",
            "Do you know whether {person} still repairs a {quality} {thing} in {place}?",
        ),
        (
            "You mentioned the {quality} {thing} from {place}; shall I ask {person}?",
            "A {quality} {thing} from {place} would suit {person} well.",
        ),
    ),
    "zh": (
        _CHINESE,
        (
            "我住在{place}，家里有一个{quality}{thing}。",
            "我在{place}给{person}买了{quality}{thing}。",
            "{person}在去{place}的火车上丢了{quality}{thing}。",
            "你知道{person}还在{place}修{quality}{thing}吗？",
        ),
        (
            "你说过{place}的{quality}{thing}，要我问问{person}吗？",
            "{place}的{quality}{thing}很适合{person}。",
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """What a seed gives.

    Attributes:
        events: turns and ends, in the order they are published; those of one conversation in the order they were said.
        language: user to `en` or `zh`.
    """

    events: Sequence[ConversationEvent]
    language: dict[UserKey, str]

    @property
    def turns(self) -> list[Turn]:
        """The turns alone."""
        return [event for event in self.events if isinstance(event, Turn)]

    def memory_ids(self) -> dict[UserKey, set[str]]:
        """The memories that the turns must become."""
        found: dict[UserKey, set[str]] = {}
        for turn in self.turns:
            found.setdefault(turn.user, set()).add(memory_id_of(turn))
        return found


def memory_id_of(turn: Turn) -> str:
    """The memory that a turn with an id of its own must become."""
    assert turn.event_id is not None
    return turn_memory_id(turn.user, turn.event_id)


def generate(seed: int, *, users: int, turns: int) -> Conversations:
    """Conversations of so many users with at least so many turns together.

    Users of two tenants, two languages, two to four conversations each, which overlap; about half of them are ended.
    No two turns of a user have the same content.
    """
    chance = random.Random(seed)
    language: dict[UserKey, str] = {}
    waiting: list[list[ConversationEvent]] = []
    per_user = -(-turns // users)
    for number in range(users):
        user = UserKey(chance.choice(["acme", "default"]), f"user-{number:03d}")
        language[user] = chance.choice(["en", "en", "zh"])
        waiting += _conversations_of(user, language[user], per_user, chance)
    events: list[ConversationEvent] = []
    while waiting:
        conversation = chance.choice(waiting)
        events.append(conversation.pop(0))
        if not conversation:
            waiting.remove(conversation)
    return Conversations(events=events, language=language)


def _conversations_of(user: UserKey, language: str, turns: int, chance: random.Random) -> list[list[ConversationEvent]]:
    conversations: list[list[ConversationEvent]] = [[] for _ in range(chance.randint(2, 4))]
    said: set[str] = set()
    for number in range(turns):
        index = number if number < len(conversations) else chance.randrange(len(conversations))
        conversation = conversations[index]
        role = "user" if len(conversation) % 2 == 0 else "assistant"
        conversation.append(
            Turn(
                tenant=user.tenant,
                user_id=user.user_id,
                conversation_id=f"{user.user_id}-c{index}",
                event_id=f"{user.user_id}-e{number}",
                role=role,
                content=_unsaid(language, role, said, chance),
                occurred_at=_START + timedelta(days=index, minutes=len(conversation)),
            )
        )
    for index, conversation in enumerate(conversations):
        if chance.random() < 0.5:
            conversation.append(
                ConversationEnded(
                    tenant=user.tenant,
                    user_id=user.user_id,
                    conversation_id=f"{user.user_id}-c{index}",
                    event_id=f"{user.user_id}-c{index}-end",
                )
            )
    return conversations


def _unsaid(language: str, role: str, said: set[str], chance: random.Random) -> str:
    words, by_user, by_assistant = _SAID[language]
    while True:
        form = chance.choice(by_user if role == "user" else by_assistant)
        content = form.format(**{kind: chance.choice(choices.split()) for kind, choices in words.items()})
        if content not in said:
            said.add(content)
            return content
