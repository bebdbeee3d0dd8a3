"""Load that two runs can share."""

from statistics import median

from benchmarks.workload import conversations
from schemas.codec import CONVERSATION_EVENTS
from schemas.ids import turn_memory_id
from schemas.window import Window, WindowTurn
from streams.extractors.rules import RulesExtractor
from topology.keys import user_key_bytes


def test_a_seed_fixes_every_byte() -> None:
    """The same seed gives the same records, another one gives others."""
    first, again, other = (
        [(event.key, event.value) for event in conversations(turns=200, users=20, seed=seed, run="r")]
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_every_turn_is_an_event_that_becomes_a_memory_of_its_own() -> None:
    """Records decode to the turns they are made of; memory ids are those the pipeline derives, all different."""
    events = conversations(turns=500, users=50, seed=1, run="r")
    for event in events:
        assert CONVERSATION_EVENTS.decode(event.value) == event.turn
        assert event.key == user_key_bytes(event.turn.user)
        assert event.turn.event_id is not None
        assert event.memory_id == turn_memory_id(event.turn.user, event.turn.event_id)
    assert len({event.memory_id for event in events}) == 500


def test_two_runs_on_one_log_share_no_memory() -> None:
    """The run's name keeps the memories of two loads of one seed apart."""
    ids = [{e.memory_id for e in conversations(turns=100, users=10, seed=1, run=run)} for run in ("a", "b")]
    assert not ids[0] & ids[1]


def test_texts_are_as_long_as_chats_are() -> None:
    """Most turns are a sentence or two, some are several times as long, and some users write Chinese."""
    lengths = [len(e.turn.content) for e in conversations(turns=2000, users=200, seed=1, run="r")]
    assert 30 <= median(lengths) <= 150
    assert max(lengths) > 4 * median(lengths)
    assert any(not e.turn.content.isascii() for e in conversations(turns=2000, users=200, seed=1, run="r"))


def test_later_days_are_newer() -> None:
    """A load of a later day is newer than all of an earlier one."""
    early, late = (conversations(turns=50, users=5, seed=1, run="r", day=day) for day in (0, 1))
    assert max(str(e.turn.occurred_at) for e in early) < min(str(e.turn.occurred_at) for e in late)


async def test_people_state_facts() -> None:
    """The rules extractor finds something in the load, or extract would have nothing to do."""
    events = [e for e in conversations(turns=300, users=10, seed=1, run="r") if e.turn.role == "user"]
    windows = [
        Window(
            tenant=e.turn.tenant,
            user_id=e.turn.user_id,
            conversation_id=e.turn.conversation_id,
            turns=[
                WindowTurn(
                    event_id=e.memory_id,
                    offset=number,
                    role=e.turn.role,
                    name=e.turn.name,
                    content=e.turn.content,
                    occurred_at=e.turn.occurred_at,
                    recorded_at=e.turn.occurred_at,
                )
            ],
            context=[],
        )
        for number, e in enumerate(events)
        if e.turn.occurred_at is not None
    ]
    facts = await RulesExtractor().extract(windows)
    assert sum(map(len, facts)) > len(windows) / 10
