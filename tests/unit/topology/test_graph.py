"""The graph holds together: events flow from the log to the caches, and nothing is read that nobody writes."""

import pytest

from schemas.candidate import Lane
from topology import topics
from topology.graph import GRAPH, StageName, stage
from topology.topics import TOPICS, Audience


def test_stages_stand_in_event_order() -> None:
    """A stage reads the conversation events or what a stage before it writes."""
    written = {topics.CONVERSATION_EVENTS}
    for spec in GRAPH:
        assert spec.reads in written, spec.name
        if spec.writes:
            written.add(spec.writes)
    assert [spec.name for spec in GRAPH] == list(StageName)


def test_every_topic_has_its_place() -> None:
    """Each topic is read, written or kept by a stage, or is one of the two books of all stages."""
    placed = {topic for spec in GRAPH for topic in (spec.reads, spec.writes, spec.state) if topic}
    assert placed | {topics.LEDGER, topics.DLQ} == set(TOPICS)


def test_each_lane_has_its_stage() -> None:
    """The two stages that read conversation events open the two lanes."""
    lanes = {spec.lane for spec in GRAPH if spec.reads is topics.CONVERSATION_EVENTS}
    assert lanes == set(Lane)
    assert all(spec.lane is None for spec in GRAPH if spec.reads is not topics.CONVERSATION_EVENTS)


def test_every_stage_has_a_group_of_its_own() -> None:
    """Stages, generations and installations commit their progress separately."""
    groups = [spec.group_id(namespace=ns, generation=g) for spec in GRAPH for ns in ("", "blue.") for g in (1, 2)]
    assert len(set(groups)) == len(groups)


def test_a_stage_is_found_by_name() -> None:
    """Names lead to stages, and a wrong one is answered with the right ones."""
    assert stage("extract") is GRAPH[1]
    with pytest.raises(KeyError, match="no stage 'extrakt'; stages are record, extract"):
        stage("extrakt")


def test_state_is_compacted_and_nothing_else_is() -> None:
    """State keeps its newest record per key; a log never loses a record to another with its key."""
    state = {spec.state for spec in GRAPH if spec.state}
    assert {spec for spec in TOPICS if spec.compacted} == state


def test_public_topics_are_json_and_internal_ones_are_not() -> None:
    """Anyone can read a public topic without our code."""
    for spec in TOPICS:
        assert (spec.codec.encoding == "json") == (spec.audience is Audience.PUBLIC), spec.name


def test_the_log_is_kept_for_ever() -> None:
    """What replay starts from is never deleted by time or size."""
    for spec in (topics.CONVERSATION_EVENTS, topics.CANDIDATES, topics.EMBEDDED, topics.CHANGES):
        configs = spec.configs()
        assert (configs["cleanup.policy"], configs["retention.ms"], configs["retention.bytes"]) == (
            "delete",
            "-1",
            "-1",
        )


def test_a_dead_letter_is_larger_than_what_it_holds() -> None:
    """A record of any topic fits into a letter with its story."""
    assert all(spec.max_message_bytes < topics.DLQ.max_message_bytes for spec in TOPICS if spec is not topics.DLQ)


def test_an_event_at_its_limit_fits_its_topic() -> None:
    """The largest event that the codec takes is smaller than the largest record that the broker takes."""
    limit = topics.CONVERSATION_EVENTS.codec.max_bytes
    assert limit is not None
    assert limit < topics.CONVERSATION_EVENTS.max_message_bytes


def test_a_namespace_stands_before_the_name() -> None:
    """Installations on one cluster have topics of their own."""
    assert topics.CHANGES.in_namespace("") == "memory.changes.v1"
    assert topics.CHANGES.in_namespace("blue.") == "blue.memory.changes.v1"
