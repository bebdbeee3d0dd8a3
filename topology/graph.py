"""The way of one event: six stages, each with the topic it reads and the topics it writes.

```
conversation.events ─┬─► record  ─┬─► memory.candidates ─► embed ─► memory.embedded ─► consolidate
                     └─► extract ─┘                                                        │
invalidate ◄─ memory.indexed ◄─ index ◄─ memory.changes ◄──────────────────────────────────┘
```

Every stage also writes `memory.ledger` and, for what it cannot handle, `memory.dlq`.
"""

from dataclasses import dataclass
from enum import StrEnum

from schemas.candidate import Lane
from topology import topics
from topology.topics import TopicSpec


class StageName(StrEnum):
    """The six stages, in event order."""

    RECORD = "record"
    EXTRACT = "extract"
    EMBED = "embed"
    CONSOLIDATE = "consolidate"
    INDEX = "index"
    INVALIDATE = "invalidate"


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage's place in the graph.

    Attributes:
        name: the stage.
        purpose: what it does, in one sentence.
        reads: the topic it consumes, in a consumer group of its own.
        writes: where its results go; none for the last stage.
        state: the compacted topic that holds its state, written in the same transactions.
        effect: what it changes outside Kafka, idempotently, before its commit.
        lane: the lane it opens, for the two stages that read conversation events.
        beats: a batch of its lane closes by age every so many beats (`batch.min_interval`); 0 for those that follow.
    """

    name: StageName
    purpose: str
    reads: TopicSpec
    writes: TopicSpec | None
    state: TopicSpec | None = None
    effect: str | None = None
    lane: Lane | None = None
    beats: int = 0

    def group_id(self, *, namespace: str = "", generation: int = 1) -> str:
        """The consumer group, one per stage and generation."""
        return f"{namespace}memstream.g{generation}.{self.name}"


GRAPH: tuple[StageSpec, ...] = (
    StageSpec(
        name=StageName.RECORD,
        purpose="every turn becomes a candidate at once; misplaced events are sent on their way",
        reads=topics.CONVERSATION_EVENTS,
        writes=topics.CANDIDATES,
        lane=Lane.RECORD,
        beats=1,
    ),
    StageSpec(
        name=StageName.EXTRACT,
        purpose="windows of turns go to the extractor; what it finds becomes candidates",
        reads=topics.CONVERSATION_EVENTS,
        writes=topics.CANDIDATES,
        state=topics.WINDOWS,
        lane=Lane.EXTRACT,
        beats=2,
    ),
    StageSpec(
        name=StageName.EMBED,
        purpose="candidates get their vectors, in batches over users",
        reads=topics.CANDIDATES,
        writes=topics.EMBEDDED,
    ),
    StageSpec(
        name=StageName.CONSOLIDATE,
        purpose="candidates become memories, per user and in order; every change is announced",
        reads=topics.EMBEDDED,
        writes=topics.CHANGES,
        state=topics.HEADS,
    ),
    StageSpec(
        name=StageName.INDEX,
        purpose="changes go to the store; once durable, that is announced",
        reads=topics.CHANGES,
        writes=topics.INDEXED,
        effect="store",
    ),
    StageSpec(
        name=StageName.INVALIDATE,
        purpose="cached state older than the store is made unreachable",
        reads=topics.INDEXED,
        writes=None,
        effect="Redis",
    ),
)
"""In event order."""


def stage(name: str) -> StageSpec:
    """The stage of that name.

    Raises:
        KeyError: there is none; the message lists them.
    """
    for spec in GRAPH:
        if spec.name == name:
            return spec
    raise KeyError(f"no stage {name!r}; stages are {', '.join(spec.name for spec in GRAPH)}")
