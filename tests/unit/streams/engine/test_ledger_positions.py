"""Where a stage goes on when its group has forgotten."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st
from in_process_log import START
from raw_records import raw_record

from schemas.outcome import LedgerEntry
from streams.engine.ledger_positions import LedgerPositions
from streams.errors import RefusedError
from topology import graph, topics

SPEC = graph.stage(graph.StageName.EMBED)
START_MS = int(START.timestamp() * 1000)


class Log:
    """Reads a ledger that a test wrote: partition to records; and one record at every offset of the stage's topic."""

    def __init__(self, ledger: dict[int, list[Message]], *, timestamp_ms: int) -> None:
        self._ledger = ledger
        self._timestamp_ms = timestamp_ms

    async def read(
        self, topic: topics.TopicSpec, partition: int, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[list[Message]]:
        if topic is SPEC.reads:
            assert stop == start + 1
            yield [raw_record(partition, start, timestamp_ms=self._timestamp_ms)]
            return
        assert (topic, start, stop) == (topics.LEDGER, 0, None)
        for record in self._ledger.get(partition, []):
            yield [record]


def entry(stage: str, topic: str, partition: int, last: int, generation: int) -> LedgerEntry:
    return LedgerEntry(
        stage=stage,
        topic=topic,
        partition=partition,
        first_offset=last,
        last_offset=last,
        applied=1,
        filtered=0,
        dead_lettered=0,
        verdicts=[],
        decided_at=START,
        generation=generation,
    )


def positions(ledger: dict[int, list[Message]], *partitions: int, timestamp_ms: int = START_MS) -> dict[int, int]:
    reader = LedgerPositions(SPEC, generation=2, reader=Log(ledger, timestamp_ms=timestamp_ms))
    return asyncio.run(reader.behind(partitions))


entries = st.builds(
    entry,
    st.sampled_from([SPEC.name, graph.StageName.RECORD]),
    st.sampled_from([SPEC.reads.name, "memory.elsewhere.v1"]),
    st.integers(0, 3),
    st.integers(0, 100),
    st.integers(1, 3),
)


@given(st.lists(st.tuples(entries, st.data())), st.sets(st.integers(0, 3)))
def test_a_stage_goes_on_behind_its_newest_entry_about_a_partition(
    written: list[tuple[LedgerEntry, st.DataObject]], wanted: set[int]
) -> None:
    """Entries of other stages, topics and generations count for nothing, wherever in the ledger they stand."""
    ledger: dict[int, list[Message]] = {}
    for one, data in written:
        place = data.draw(st.sampled_from(topics.ledger_partitions(one.partition)))
        value = topics.LEDGER.codec.encode(one)
        ledger.setdefault(place, []).append(raw_record(place, 0, value, key=one.stage.encode()))
    ours = [
        one
        for one, _ in written
        if (one.stage, one.topic, one.generation) == (SPEC.name, SPEC.reads.name, 2) and one.partition in wanted
    ]

    expected = {p: max(o.last_offset for o in ours if o.partition == p) + 1 for p in {o.partition for o in ours}}
    assert positions(ledger, *wanted) == expected


def test_an_entry_that_cannot_be_read_stops_the_stage_and_names_its_place() -> None:
    """Beginning at the beginning instead would settle everything again."""
    unknown = topics.LEDGER.codec.encode(entry(SPEC.name, SPEC.reads.name, 1, 7, 2)).replace(b"\xa1v\x01", b"\xa1v\x7f")
    with pytest.raises(RefusedError, match=r"memory\.ledger\.v1 0/5 cannot be read"):
        positions({0: [raw_record(0, 5, unknown, key=SPEC.name.encode())]}, 1)


def test_a_record_that_is_newer_than_its_ledger_entry_is_of_another_topic_and_stops_the_stage() -> None:
    """Going on behind it would pass over what a topic made anew has below."""
    value = topics.LEDGER.codec.encode(entry(SPEC.name, SPEC.reads.name, 1, 7, 2))
    ledger = {1: [raw_record(1, 0, value, key=SPEC.name.encode())]}
    assert positions(ledger, 1) == {1: 8}
    with pytest.raises(RefusedError, match=r"memory\.candidates\.v1 partition 1 has no committed position"):
        positions(ledger, 1, timestamp_ms=START_MS + 1)
