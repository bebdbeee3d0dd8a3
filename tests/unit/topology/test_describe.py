"""Tables and picture show every stage and topic of the graph, and no other connection than the graph's."""

import re

from topology import describe
from topology.graph import GRAPH
from topology.topics import DLQ, LEDGER, TOPICS


def edges(arrow: str) -> set[tuple[str, str]]:
    """The connections that the picture draws with one kind of arrow, by node name."""
    pattern = rf"^    (\w+)[^\s]* {re.escape(arrow)} (\w+)"
    return {(a, b) for a, b in re.findall(pattern, describe.mermaid(), flags=re.MULTILINE)}


def node(name: str) -> str:
    """A topic's name in the picture."""
    return name.replace(".", "_")


def test_the_picture_has_exactly_the_connections_of_the_graph() -> None:
    """Arrows are reads and writes, double ones state, thick ones effects; publishers and consumers stand outside."""
    reads = {(node(spec.reads.name), spec.name.value) for spec in GRAPH}
    writes = {(spec.name.value, node(spec.writes.name)) for spec in GRAPH if spec.writes}
    outside = {("publishers", "conversation_events_v1"), ("memory_changes_v1", "consumers")}
    assert edges("-->") == reads | writes | outside
    assert edges("<-->") == {(spec.name.value, node(spec.state.name)) for spec in GRAPH if spec.state}
    assert edges("==>") == {(spec.name.value, spec.effect.lower()) for spec in GRAPH if spec.effect}


def test_the_picture_names_every_topic() -> None:
    """Each topic is drawn once, under its own name."""
    drawn = re.findall(r"^    \w+\(\[\"(.+)\"\]\)$", describe.mermaid(), flags=re.MULTILINE)
    assert drawn == [spec.name for spec in TOPICS]


def test_the_tables_have_a_row_for_every_stage_and_topic() -> None:
    """In event order, with what each reads and keeps."""
    lines = describe.tables(namespace="blue.").splitlines()
    starts = [line.split()[0] for line in lines if line]
    stages = [spec.name.value for spec in GRAPH]
    topics = [f"blue.{spec.name}" for spec in TOPICS]
    assert [start for start in starts if start in stages] == stages
    assert [start for start in starts if start in topics] == topics
    assert any(LEDGER.name in line and DLQ.name in line for line in lines)


def test_data_and_tables_agree() -> None:
    """Programs and people are told the same."""
    data = describe.as_data()
    text = describe.tables()
    for row in data["stages"]:
        assert all(row[column] in text for column in ("stage", "reads", "purpose"))
    for row in data["topics"]:
        assert all(row[column] in text for column in ("topic", "audience", "encoding", "key", "purpose"))
    assert {row["topic"]: row["configs"] for row in data["topics"]} == {spec.name: spec.configs() for spec in TOPICS}
