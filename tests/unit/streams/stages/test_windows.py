"""How conversations are cut into windows."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from in_process_log import START

from schemas.ids import UserKey
from schemas.window import Window, WindowTurn
from streams.stages.windows import Closed, Conversation, Cutting, PartitionWindows, WindowRule

RULE = WindowRule(max_turns=3, context_turns=2, gap=timedelta(minutes=30))
CONVERSATION = Conversation(UserKey("acme", "u1"), "c1")
OTHER = Conversation(UserKey("acme", "u1"), "c2")


def turn(offset: int, *, minute: float = 0, event_id: str | None = None) -> WindowTurn:
    at = START + timedelta(minutes=minute)
    return WindowTurn(event_id or f"e{offset}", offset, "user", None, f"words {offset}", at, at)


def cutting(windows: PartitionWindows | None = None) -> Cutting:
    return Cutting(windows or PartitionWindows(), RULE)


def closed(cut: Cutting) -> list[tuple[list[int], Closed]]:
    return [([t.offset for t in window.turns], why) for window, why in cut.closed]


def test_a_window_closes_by_count_and_leaves_context() -> None:
    """The last turns stay to be read with the next window, and are not extracted from again."""
    cut = cutting()
    for offset in range(4):
        cut.add(CONVERSATION, turn(offset))

    assert closed(cut) == [([0, 1, 2], Closed.COUNT)]
    window = cut.window(CONVERSATION)
    assert window is not None
    assert [t.offset for t in window.context] == [1, 2]
    assert [t.offset for t in window.turns] == [3]


def test_the_end_of_a_conversation_closes_its_window_and_forgets_it() -> None:
    """Nothing is kept of an ended conversation."""
    cut = cutting()
    cut.add(CONVERSATION, turn(0))
    cut.add(OTHER, turn(1))
    cut.close(CONVERSATION, Closed.ENDED)

    assert closed(cut) == [([0], Closed.ENDED)]
    assert cut.window(CONVERSATION) is None
    assert cut.window(OTHER) is not None


def test_a_gap_in_event_time_opens_a_new_window() -> None:
    """A turn much later than the one before it starts afresh, without context."""
    cut = cutting()
    cut.add(CONVERSATION, turn(0))
    cut.add(CONVERSATION, turn(1, minute=31))

    assert closed(cut) == [([0], Closed.GAP)]
    window = cut.window(CONVERSATION)
    assert window is not None
    assert [t.offset for t in window.turns] == [1]
    assert window.context == []


def test_a_late_turn_stays_in_the_open_window() -> None:
    """Event time that goes back is no gap."""
    cut = cutting()
    cut.add(CONVERSATION, turn(0, minute=60))
    cut.add(CONVERSATION, turn(1, minute=0))

    assert closed(cut) == []


def test_an_idle_marker_counts_only_while_it_names_the_newest_turn() -> None:
    """A marker that was overtaken by a turn is stale; so is one whose window has gone."""
    cut = cutting()
    cut.add(CONVERSATION, turn(0))
    cut.add(CONVERSATION, turn(1))

    assert not cut.idle(CONVERSATION, 0)
    assert cut.idle(CONVERSATION, 1)
    assert not cut.idle(CONVERSATION, 1)
    assert closed(cut) == [([0, 1], Closed.IDLE)]


def test_an_idle_marker_drops_context_that_nobody_will_read() -> None:
    """A conversation that stopped right behind a full window does not stay in the state for ever."""
    cut = cutting()
    for offset in range(3):
        cut.add(CONVERSATION, turn(offset))

    assert cut.idle(CONVERSATION, 2)
    assert cut.window(CONVERSATION) is None
    assert closed(cut) == [([0, 1, 2], Closed.COUNT)]


def test_a_turn_that_is_in_the_window_already_is_not_added_again() -> None:
    """The same event, published twice, is read once; also when it is context by now."""
    cut = cutting()
    assert cut.add(CONVERSATION, turn(0, event_id="a"))
    assert not cut.add(CONVERSATION, turn(1, event_id="a"))
    assert cut.add(CONVERSATION, turn(2, event_id="b"))
    assert cut.add(CONVERSATION, turn(3, event_id="c"))
    assert not cut.add(CONVERSATION, turn(4, event_id="c"))


def test_committed_windows_stay_untouched_while_a_batch_is_decided() -> None:
    """What a batch decides is provisional: dropping the cutting leaves everything as it was."""
    windows = PartitionWindows()
    first = cutting(windows)
    first.add(CONVERSATION, turn(0))
    windows.put(CONVERSATION, first.changed[CONVERSATION])

    second = cutting(windows)
    second.add(CONVERSATION, turn(1))
    second.close(CONVERSATION, Closed.ENDED)

    kept = windows.get(CONVERSATION)
    assert kept is not None
    assert [t.offset for t in kept.turns] == [0]


steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["turn", "turn", "turn", "end", "idle"])), max_size=60)


def play(script: list[tuple[int, str]], batch_sizes: list[int]) -> tuple[list[list[int]], list[int | None]]:
    """Cut a script of events in batches; returns the closed windows and the oldest open offset after each batch."""
    windows = PartitionWindows()
    all_closed: list[list[int]] = []
    oldest: list[int | None] = []
    offset = 0
    sizes = iter([*batch_sizes, len(script) + 1])
    remaining = list(script)
    while remaining:
        size = next(sizes)
        cut = cutting(windows)
        for number, what in remaining[:size]:
            conversation = Conversation(UserKey("acme", "u1"), f"c{number}")
            window = cut.window(conversation)
            if what == "turn":
                cut.add(conversation, turn(offset))
            elif what == "end":
                cut.close(conversation, Closed.ENDED)
            elif window is not None:
                cut.idle(conversation, (window.turns or window.context)[-1].offset)
            offset += 1
        remaining = remaining[size:]
        oldest.append(windows.oldest_open_offset(cut.changed))
        windows.apply(cut.changed)
        all_closed += [[t.offset for t in window.turns] for window, _ in cut.closed]
        open_offsets = [window.turns[0].offset for _, window in windows if window.turns]
        assert oldest[-1] == min(open_offsets, default=None)
    return all_closed, oldest


@given(steps, st.lists(st.integers(1, 10), max_size=60))
def test_windows_are_the_same_whatever_the_batch_sizes(script: list[tuple[int, str]], batch_sizes: list[int]) -> None:
    """Windows are a function of the log alone."""
    in_batches, _ = play(script, batch_sizes)
    at_once, _ = play(script, [])

    assert sorted(in_batches) == sorted(at_once)


@given(steps)
def test_every_turn_is_in_exactly_one_window(script: list[tuple[int, str]]) -> None:
    """A turn is extracted from once, or still stands in an open window."""
    ended = [*script, *((number, "end") for number in range(4))]
    found, _ = play(ended, [7] * len(ended))

    turns = [offset for offset, (_, what) in enumerate(ended) if what == "turn"]
    assert sorted(offset for window in found for offset in window) == turns


def test_windows_read_back_in_any_order_know_the_oldest_open_one() -> None:
    """Compaction does not keep the order of opening; loading restores it."""

    def window(conversation_id: str, offset: int) -> Window:
        return Window(tenant="acme", user_id="u1", conversation_id=conversation_id, turns=[turn(offset)], context=[])

    windows = PartitionWindows([window("c1", 9), window("c2", 4), window("c3", 6)])

    assert windows.oldest_open_offset({}) == 4
    assert windows.oldest_open_offset({Conversation(UserKey("acme", "u1"), "c2"): None}) == 6
