"""The records that every contender reads."""

from benchmarks.engine.contender import number_of, place_of
from benchmarks.engine.events import numbered
from schemas.codec import CONVERSATION_EVENTS
from schemas.conversation import Turn
from topology import keys


def test_events_are_what_publishers_send() -> None:
    """They decode as turns, weigh about 220 bytes, and stand in the partition that their key leads to."""
    for partition, key, value in numbered(500, 4):
        turn = CONVERSATION_EVENTS.decode(value)
        assert isinstance(turn, Turn)
        assert 210 <= len(value) <= 235
        assert key == keys.user_key_bytes(turn.user)
        assert keys.partition_of(turn.user, 4) == partition


def test_events_are_dealt_out_in_turns() -> None:
    """So the number of an event says where it stands in the log."""
    seen = [0, 0, 0]
    for number, (partition, _, value) in enumerate(numbered(100, 3)):
        assert number_of(value) == number
        assert place_of(number, 3) == (partition, seen[partition])
        seen[partition] += 1
