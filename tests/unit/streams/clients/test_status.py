"""How far every stage has come."""

from collections.abc import Collection
from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from unit.streams.clients.log_of_messages import PARTITIONS, START, FixedClock, LogOfMessages

from schemas.candidate import Lane, Watermark
from schemas.outcome import DeadLetter, LedgerEntry, Outcome, Reason, Verdict
from schemas.window import Window, WindowTurn
from streams.clients.hanging_transactions import HangingTransaction
from streams.clients.status import StageStatus, Status, StatusReader
from topology import topics
from topology.graph import GRAPH
from topology.topics import TopicSpec

CLOCK = FixedClock(START + timedelta(seconds=60))
BYTES = b"{}"


def reader(log: LogOfMessages) -> StatusReader:
    """A reader of the first generation, a minute after the start."""
    return StatusReader(log, CLOCK, generation=1)


def stage(status: Status, name: str) -> StageStatus:
    """One stage of a status."""
    return next(found for found in status.stages if found.stage == name)


def entry(first: int, last: int, verdicts: list[Verdict], *, name: str = "record", partition: int = 0) -> LedgerEntry:
    """What became of a stretch of the log."""
    filtered = sum(verdict.outcome is Outcome.FILTERED for verdict in verdicts)
    return LedgerEntry(
        stage=name,
        topic="conversation.events.v1",
        partition=partition,
        first_offset=first,
        last_offset=last,
        applied=last - first + 1 - len(verdicts),
        filtered=filtered,
        dead_lettered=len(verdicts) - filtered,
        verdicts=verdicts,
        decided_at=START,
    )


def window(conversation_id: str, said_at_s: list[int]) -> Window:
    """A window with turns at these seconds."""
    turns = [
        WindowTurn(str(s), s, "user", None, "text", START + timedelta(seconds=s), START + timedelta(seconds=s))
        for s in said_at_s
    ]
    return Window(tenant="acme", user_id="u", conversation_id=conversation_id, turns=turns, context=[])


def test_a_stage_that_never_ran_has_everything_before_it() -> None:
    """Without a committed offset all records count as lag, and the stage counts as not started."""
    log = LogOfMessages()
    for seconds in (30, 40):
        log.write(topics.CONVERSATION_EVENTS, 1, BYTES, at=START + timedelta(seconds=seconds))
    record = stage(reader(log).read(), "record")
    assert (record.started, record.lag_records, record.lag_s, record.members) == (False, 2, 30.0, 0)


def test_transaction_markers_are_no_lag() -> None:
    """Offsets behind the committed one that hold only markers leave nothing to be done."""
    log = LogOfMessages()
    log.write(topics.CANDIDATES, 0, Watermark(Lane.RECORD, 1))
    log.write_marker(topics.CANDIDATES, 0)
    log.groups = {spec.group_id(): {0: 1} for spec in GRAPH}
    status = reader(log).read()
    assert stage(status, "embed").lag_records == 0
    assert status.caught_up


def test_a_commit_that_is_not_yet_visible_everywhere_is_not_caught_up() -> None:
    """A stage's position is seen before its records are: until they are, there is something left to do."""
    log = LogOfMessages()
    log.write(topics.CONVERSATION_EVENTS, 1, BYTES)
    log.write(topics.CHANGES, 1, BYTES)
    log.write(topics.WINDOWS, 1, None)
    log.groups = {spec.group_id(namespace="", generation=1): {1: 1} for spec in GRAPH}
    assert reader(log).read().caught_up
    for spec in (topics.CHANGES, topics.WINDOWS):
        log.open_from = {(spec.name, 1): 0}
        assert not reader(log).read().caught_up


def test_only_an_old_open_transaction_hangs() -> None:
    """On any topic, whoever reads it: open for longer than a transaction of ours lasts; younger ones are normal."""
    log = LogOfMessages()
    for spec in (topics.LEDGER, topics.CHANGES):
        log.write(spec, 1, BYTES)
    log.write(topics.LEDGER, 1, BYTES, at=START + timedelta(seconds=20))
    log.write(topics.CHANGES, 1, BYTES, at=START + timedelta(seconds=50))
    log.write(topics.LEDGER, 1, BYTES, at=START + timedelta(seconds=55))
    assert reader(log).read().hanging == []
    log.open_from = {(spec.name, 1): 1 for spec in (topics.LEDGER, topics.CHANGES)}
    assert reader(log).read().hanging == [HangingTransaction(topics.LEDGER.name, 1, 1, 2, 40.0)]


class ClosesAWindow(LogOfMessages):
    """Closes a window when the last stage's position is asked for."""

    def committed(self, group_id: str, spec: TopicSpec, partitions: Collection[int]) -> dict[int, int]:
        """What was committed before the window closed."""
        found = super().committed(group_id, spec, partitions)
        if group_id == GRAPH[-1].group_id():
            self.write(topics.WINDOWS, 0, None, key=b"a")
            self.write(topics.CANDIDATES, 0, BYTES)
        return found


def test_a_window_that_closes_while_we_look_is_not_caught_up() -> None:
    """No window is open any more, but its facts are on their way to stages that were looked at already."""
    log = ClosesAWindow()
    log.write(topics.WINDOWS, 0, window("a", [10]), key=b"a")
    status = reader(log).read()
    assert status.windows.open == 0
    assert all(stage.lag_records == 0 for stage in status.stages)
    assert not status.caught_up


def test_lag_is_counted_from_the_committed_offset_and_dated_by_the_oldest_record() -> None:
    """Only what lies behind the commit counts, over all partitions; the oldest of it gives the age."""
    log = LogOfMessages()
    for partition in range(PARTITIONS):
        for second in range(10):
            log.write(topics.CONVERSATION_EVENTS, partition, BYTES, at=START + timedelta(seconds=second))
    log.groups[GRAPH[0].group_id()] = {0: 10, 1: 10, 2: 8, 3: 4}
    log.group_members[GRAPH[0].group_id()] = 2
    record = stage(reader(log).read(), "record")
    assert (record.started, record.lag_records, record.lag_s, record.members) == (True, 8, 56.0, 2)


def test_a_long_lag_is_counted_to_the_last_record() -> None:
    """Far behind, where not every record is read, none is forgotten."""
    log = LogOfMessages()
    for _ in range(1234):
        log.write(topics.CONVERSATION_EVENTS, 0, BYTES)
    assert stage(reader(log).read(), "extract").lag_records == 1234


@given(st.lists(st.lists(st.sampled_from([None, *Reason]), min_size=1, max_size=8), max_size=10))
def test_outcomes_are_the_sum_of_the_ledger(batches: list[list[Reason | None]]) -> None:
    """Applied, filtered and dead-lettered add up to the records of all entries."""
    log = LogOfMessages()
    offset = 0
    dead = {Reason.UNDECODABLE, Reason.UNSUPPORTED_VERSION, Reason.OVERSIZE, Reason.POISON}
    for batch in batches:
        verdicts = [
            Verdict(offset + i, Outcome.DEAD_LETTERED if reason in dead else Outcome.FILTERED, reason)
            for i, reason in enumerate(batch)
            if reason is not None
        ]
        log.write(topics.LEDGER, 0, entry(offset, offset + len(batch) - 1, verdicts))
        offset += len(batch)
    record = stage(reader(log).read(), "record")
    flat = [reason for batch in batches for reason in batch]
    assert record.settled == len(flat)
    assert record.applied == flat.count(None)
    for reason in Reason:
        counted = record.dead_lettered if reason in dead else record.filtered
        assert counted.get(reason, 0) == flat.count(reason)


def test_asking_again_reads_only_what_is_new() -> None:
    """A kept reader counts every ledger entry once."""
    log = LogOfMessages()
    status_reader = reader(log)
    log.write(topics.LEDGER, 0, entry(0, 4, []))
    assert stage(status_reader.read(), "record").applied == 5
    log.write(topics.LEDGER, 0, entry(5, 5, []))
    assert stage(status_reader.read(), "record").applied == 6
    assert stage(status_reader.read(), "record").applied == 6


def test_open_windows_are_those_with_turns() -> None:
    """A window that closed, or keeps context only, is not open; the oldest one's first turn gives the age."""
    log = LogOfMessages()
    log.write(topics.WINDOWS, 0, window("a", [10, 50]), key=b"a")
    log.write(topics.WINDOWS, 0, window("b", [20]), key=b"b")
    log.write(topics.WINDOWS, 1, window("c", [5]), key=b"c")
    log.write(topics.WINDOWS, 1, None, key=b"c")
    log.write(topics.WINDOWS, 1, window("d", [1]), key=b"d")
    log.write(topics.WINDOWS, 1, window("d", []), key=b"d")
    windows = reader(log).read().windows
    assert (windows.open, windows.oldest_age_s) == (2, 50.0)


def test_open_dead_letters_are_counted_per_stage() -> None:
    """A stage answers for its own letters only."""
    log = LogOfMessages()
    letter = DeadLetter(
        stage="extract",
        topic="conversation.events.v1",
        partition=0,
        offset=3,
        recorded_at=START,
        key=None,
        value=b"x",
        headers=[],
        reason=Reason.POISON,
        error="",
        attempts=1,
        failed_at=START,
    )
    log.write(topics.DLQ, 0, letter)
    log.write(topics.DLQ, 0, msgspec.structs.replace(letter, offset=4))
    status = reader(log).read()
    assert status.open_dead_letters == 2
    assert (stage(status, "extract").open_dead_letters, stage(status, "record").open_dead_letters) == (2, 0)
