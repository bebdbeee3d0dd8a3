"""Every topic, as data: who may read it, how its records are encoded and how long they are kept.

All pipeline topics have the same number of partitions, and partition p of one leads to partition p of the next. The
ledger alone is shared: see `ledger_partitions`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from schemas import codec

DEFAULT_PARTITIONS = 12
LAPTOP_PARTITIONS = 4

FOREVER_MS = -1
_DAY_MS = 24 * 60 * 60 * 1000
_MIB = 1024 * 1024


class Audience(Enum):
    """Who may rely on a topic."""

    PUBLIC = "public"
    """Anyone: JSON with CloudEvents headers, schema promised."""
    INTERNAL = "internal"
    """Our stages only: MessagePack, may change with a release."""


@dataclass(frozen=True, kw_only=True)
class TopicSpec:
    """One topic.

    Attributes:
        name: its name in Kafka, before any namespace (`in_namespace`).
        purpose: what stands on it, in one sentence.
        audience: public or internal.
        codec: turns its records into bytes and back.
        key: what its records are keyed by.
        compacted: keeps the newest record per key instead of a time span.
        retention_ms: how long records are kept; -1 for ever. Ignored when compacted.
        max_message_bytes: largest record batch the broker takes.
    """

    name: str
    purpose: str
    audience: Audience
    codec: codec.Codec[Any]
    key: str = "tenant/user_id"
    compacted: bool = False
    retention_ms: int = FOREVER_MS
    max_message_bytes: int = 2 * _MIB

    def in_namespace(self, namespace: str) -> str:
        """Its name in Kafka: the namespace, as it stands, before the topic's own name."""
        return f"{namespace}{self.name}"

    def configs(self) -> dict[str, str]:
        """The broker's settings of this topic; everything not named here is the broker's own business."""
        configs = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "max.message.bytes": str(self.max_message_bytes),
        }
        if self.compacted:
            # Deletion markers must outlive the slowest reader that starts at the beginning.
            configs["delete.retention.ms"] = str(7 * _DAY_MS)
        else:
            configs["retention.ms"] = str(self.retention_ms)
            configs["retention.bytes"] = "-1"
        return configs


CONVERSATION_EVENTS = TopicSpec(
    name="conversation.events.v1",
    purpose="what publishers send; the log that is the truth, kept without limit",
    audience=Audience.PUBLIC,
    codec=codec.CONVERSATION_EVENTS,
)
CANDIDATES = TopicSpec(
    name="memory.candidates.v1",
    purpose="memories proposed by record (turns) and extract (facts); what the extractor said is kept here",
    audience=Audience.INTERNAL,
    codec=codec.CANDIDATES,
)
EMBEDDED = TopicSpec(
    name="memory.embedded.v1",
    purpose="candidates with their vectors; what the embedder said is kept here",
    audience=Audience.INTERNAL,
    codec=codec.EMBEDDED,
)
CHANGES = TopicSpec(
    name="memory.changes.v1",
    purpose="every change of every memory, with the whole memory after it",
    audience=Audience.PUBLIC,
    codec=codec.CHANGES,
)
INDEXED = TopicSpec(
    name="memory.indexed.v1",
    purpose="which users' changes the store has; caches and readers follow it",
    audience=Audience.INTERNAL,
    codec=codec.INDEXED,
    key="none: a notice speaks of many users of its partition",
    retention_ms=7 * _DAY_MS,
)
HEADS = TopicSpec(
    name="memory.heads.v1",
    purpose="one head per user: revision, digest and fences, without content",
    audience=Audience.INTERNAL,
    codec=codec.HEADS,
    compacted=True,
)
WINDOWS = TopicSpec(
    name="memory.windows.v1",
    purpose="open windows: the state of extract",
    audience=Audience.INTERNAL,
    codec=codec.WINDOWS,
    key="tenant/user_id, a zero byte, conversation_id",
    compacted=True,
    max_message_bytes=8 * _MIB,
)
LEDGER = TopicSpec(
    name="memory.ledger.v1",
    purpose="what became of each consumed offset, per stage; all entries of a batch stand in its lowest partition",
    audience=Audience.INTERNAL,
    codec=codec.LEDGER,
    key="stage",
)
DLQ = TopicSpec(
    name="memory.dlq.v1",
    purpose="what a stage could not handle, whole, and what was redriven",
    audience=Audience.INTERNAL,
    codec=codec.DLQ,
    key="the letter's own key",
    # A letter holds a whole record of any other topic and its story: this limit exceeds all others.
    max_message_bytes=16 * _MIB,
)

TOPICS: tuple[TopicSpec, ...] = (
    CONVERSATION_EVENTS,
    CANDIDATES,
    EMBEDDED,
    CHANGES,
    INDEXED,
    HEADS,
    WINDOWS,
    LEDGER,
    DLQ,
)
"""In event order, then state, then books."""


def ledger_partitions(partition: int) -> range:
    """Where the ledger entries about an input partition may stand.

    A batch writes all of its entries to the partition of its lowest one, so each stands in that of the same number or
    in a lower one. In older logs every entry stands in that of the same number, which is among them.
    """
    return range(partition + 1)
