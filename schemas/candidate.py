"""Candidates: memories proposed by record (a turn) or extract (a fact), on internal topics, not yet consolidated."""

import enum
from datetime import datetime
from typing import Literal

import msgspec

from schemas.ids import UserKey


class Lane(enum.StrEnum):
    """The way of a conversation event: through record (fast) or through extract (as slow as its model)."""

    RECORD = "record"
    EXTRACT = "extract"


class Watermark(msgspec.Struct, frozen=True, tag="watermark", tag_field="type"):
    """Everything of this lane up to and including this offset of `conversation.events` has passed here.

    It stands at the end of a batch's outputs in one partition and speaks of the same partition of the source topic.
    """

    lane: Lane
    offset: int
    v: int = 1


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Where a candidate comes from in `conversation.events`; fences compare with it.

    Attributes:
        oldest_offset: first source record.
        newest_offset: last source record.
        recorded_at: Kafka timestamp of the last one: when we knew.
    """

    oldest_offset: int
    newest_offset: int
    recorded_at: datetime


Kind = Literal["turn", "fact"]


class Candidate(msgspec.Struct, frozen=True, kw_only=True, tag="candidate", tag_field="type"):
    """A proposed memory.

    Attributes:
        lane: which lane proposes it; turns come from record, facts from extract.
        cause: the source event (turn) or window (fact) that made it.
        text: what to remember, in the words it was said or extracted in.
        slot: the single-valued attribute a fact is about, such as `home`; none for turns and free statements.
        confidence_ratio: how sure the extractor is, 0 to 1.
        occurred_at: when it was said.
        valid_from: since when it is true in the world.
    """

    lane: Lane
    kind: Kind
    tenant: str
    user_id: str
    memory_id: str
    cause: str
    text: str
    conversation_id: str
    role: str
    name: str | None
    source_event_ids: list[str]
    source: Source
    occurred_at: datetime
    valid_from: datetime
    slot: str | None = None
    confidence_ratio: float = 1.0
    v: int = 1

    @property
    def user(self) -> UserKey:
        """Whose candidate it is."""
        return UserKey(self.tenant, self.user_id)


class Embedded(msgspec.Struct, frozen=True, kw_only=True, tag="embedded", tag_field="type"):
    """A candidate with its vector.

    Attributes:
        candidate: as it came.
        model: which embedder made the vector; vectors of two models never mix in one generation.
        vector: float16, little endian, unit length.
    """

    candidate: Candidate
    model: str
    vector: bytes
    v: int = 1


CandidateRecord = Candidate | Watermark
"""What stands on `memory.candidates`."""

EmbeddedRecord = Embedded | Watermark
"""What stands on `memory.embedded`."""
