"""The graph in words and as a picture, from the same data that the stages run on."""

from collections.abc import Sequence
from typing import Any

from topology.graph import GRAPH
from topology.topics import DLQ, FOREVER_MS, LEDGER, TOPICS, Audience, TopicSpec

_DAY_MS = 24 * 60 * 60 * 1000

BOOKS = (LEDGER, DLQ)
"""What every stage writes besides its results."""


def as_data(*, namespace: str = "") -> dict[str, list[dict[str, Any]]]:
    """Stages and topics as plain data, for programs.

    Args:
        namespace: put before every topic and group name.
    """

    def named(topic: TopicSpec | None) -> str | None:
        return topic.in_namespace(namespace) if topic else None

    stages = [
        {
            "stage": str(spec.name),
            "purpose": spec.purpose,
            "reads": named(spec.reads),
            "writes": named(spec.writes),
            "state": named(spec.state),
            "effect": spec.effect,
            "group": spec.group_id(namespace=namespace),
        }
        for spec in GRAPH
    ]
    topics = [
        {
            "topic": named(spec),
            "purpose": spec.purpose,
            "audience": spec.audience.value,
            "encoding": spec.codec.encoding,
            "key": spec.key,
            "configs": spec.configs(),
        }
        for spec in TOPICS
    ]
    return {"stages": stages, "topics": topics}


def tables(*, namespace: str = "") -> str:
    """Stages and topics as two tables of plain text, in event order."""
    data = as_data(namespace=namespace)
    stages = [
        [
            row["stage"],
            row["reads"],
            ", ".join(name for name in (row["writes"], row["state"], row["effect"]) if name),
            row["purpose"],
        ]
        for row in data["stages"]
    ]
    topics = [
        [row["topic"], row["audience"], row["encoding"], _kept(spec), row["key"], row["purpose"]]
        for spec, row in zip(TOPICS, data["topics"], strict=True)
    ]
    return "\n".join(
        [
            _table(["stage", "reads", "writes", "what it does"], stages),
            f"every stage also writes {' and '.join(spec.in_namespace(namespace) for spec in BOOKS)}",
            "",
            _table(["topic", "for", "encoding", "kept", "key", "what stands on it"], topics),
        ]
    )


def mermaid() -> str:
    """The graph as a Mermaid flowchart: topics are round, stages are boxes, what is kept outside Kafka is a drum."""
    lines = ["flowchart LR"]
    lines += [f'    {_node(spec)}(["{spec.name}"])' for spec in TOPICS]
    lines += [f"    {spec.name}[{spec.name}]" for spec in GRAPH]
    written = {spec.writes for spec in GRAPH}
    for topic in TOPICS:
        if topic.audience is Audience.PUBLIC:
            outside = f"{_node(topic)} --> consumers{{{{other services}}}}"
            lines.append(
                f"    {outside}" if topic in written else f"    publishers{{{{publishers}}}} --> {_node(topic)}"
            )
    for spec in GRAPH:
        lines.append(f"    {_node(spec.reads)} --> {spec.name}")
        if spec.writes:
            lines.append(f"    {spec.name} --> {_node(spec.writes)}")
        if spec.state:
            lines.append(f"    {spec.name} <--> {_node(spec.state)}")
        if spec.effect:
            lines.append(f"    {spec.name} ==> {spec.effect.lower()}[({spec.effect})]")
    lines += [f"    every[every stage] -.-> {_node(spec)}" for spec in BOOKS]
    lines.append("    classDef public stroke-width:3px")
    lines.append(f"    class {','.join(_node(spec) for spec in TOPICS if spec.audience is Audience.PUBLIC)} public")
    return "\n".join(lines)


def _node(topic: TopicSpec) -> str:
    return topic.name.replace(".", "_")


def _kept(topic: TopicSpec) -> str:
    if topic.compacted:
        return "newest per key"
    return "for ever" if topic.retention_ms == FOREVER_MS else f"{topic.retention_ms / _DAY_MS:g} days"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, ["-" * width for width in widths], *rows)
    )
