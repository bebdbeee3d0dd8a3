"""Stage 4 of 6, consolidate: candidates become memories, per user and in order; every change is announced.

Turns match by id only. Facts match by id, then by normalized text: the same statement again reinforces the memory, and
its set of source events grows. Slots, contradictions and vectors are compared by a later form of this stage.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from schemas import headers, ids
from schemas.candidate import Candidate, Embedded, EmbeddedRecord
from schemas.ids import UserKey
from schemas.memory import Head, Memory, MemoryChange, Op
from schemas.outcome import Reason
from streams.clock import Clock
from streams.embedders.factory import create_embedder
from streams.engine.catch_up import KafkaLogReader, LogReader
from streams.engine.stage import Decision, MicroBatch, Output, collect_watermarks, watermark_outputs
from streams.settings import Settings
from streams.stages.user_loading import UserLoader
from streams.stages.working_set import Draft, UserMemories
from streams.stores.factory import create_store
from streams.stores.protocol import Store
from topology import graph, keys, topics

_EVICT_AT_ONCE = 256


@dataclass
class _Partition:
    """What is kept of one partition.

    Attributes:
        heads: of every user of the partition, as committed.
        users: the working set, least recently used first.
    """

    heads: dict[UserKey, Head]
    users: OrderedDict[UserKey, UserMemories] = field(default_factory=OrderedDict)


Drafts = dict[int, dict[UserKey, Draft]]


class Consolidate:
    """Embedded candidates to changes.

    Args:
        store: where users are loaded from.
        reader: reads heads and changes.
        clock: for deadlines.
        generation: written on every change.
        max_users: see `ConsolidateSettings`.
        load_deadline: see `ConsolidateSettings`.
    """

    spec = graph.stage(graph.StageName.CONSOLIDATE)
    dead_letters = True

    def __init__(
        self,
        store: Store,
        *,
        reader: LogReader,
        clock: Clock,
        generation: int,
        max_users: int,
        load_deadline: timedelta,
    ) -> None:
        self._store = store
        self._loader = UserLoader(store, reader=reader, clock=clock, load_deadline=load_deadline)
        self._generation = generation
        self._max_users = max_users
        self._partitions: dict[int, _Partition] = {}

    async def open(self) -> None:
        """Connect the store."""
        await self._store.open()

    async def close(self) -> None:
        """Let go of the store."""
        await self._store.close()

    async def load(self, partition: int, *, position: int) -> None:  # noqa: ARG002
        """Pass the catch-up gate: know every user's head as of now."""
        self._partitions[partition] = _Partition(await self._loader.heads(partition))

    def unload(self, partition: int) -> None:
        """Forget the partition's users; their owner loads them."""
        self._partitions.pop(partition, None)

    async def decide(self, batch: MicroBatch[EmbeddedRecord]) -> Decision:
        """Changes and heads, for every candidate that changes something."""
        decision = Decision()
        drafts = await self._drafts(batch)
        changes: list[tuple[int, MemoryChange, bytes]] = []
        for record in batch.records:
            if isinstance(record.event, Embedded):
                draft = drafts[record.partition][record.event.candidate.user]
                change = self._consolidate(draft, record.event.candidate)
                if change is None:
                    decision.filter(record, Reason.DUPLICATE)
                else:
                    draft.apply(change)
                    changes.append((record.partition, change, record.event.vector))
        changed = {partition: _changed(users) for partition, users in drafts.items()}
        decision.outputs = [
            *_change_outputs(changes, changed),
            *_head_outputs(changed),
            *watermark_outputs(topics.CHANGES, collect_watermarks(batch), headers=_WATERMARK_HEADERS),
        ]
        decision.state = drafts
        return decision

    async def give_up(self, batch: MicroBatch[Any], error: Exception) -> Decision | None:  # noqa: ARG002
        """Nothing can be done without it."""
        return None

    async def perform(self, effect: Any) -> None:
        """No effect."""

    def apply(self, state: Drafts) -> None:
        """The drafts are the users' memories now."""
        for partition, users in state.items():
            kept = self._partitions.get(partition)
            if kept is None:
                continue  # lost while the transaction was ending
            for user, draft in users.items():
                merged = kept.users[user] = draft.merge()
                kept.users.move_to_end(user)
                if merged.head.revision:
                    kept.heads[user] = merged.head

    def due(self, *, at_end: frozenset[int]) -> list[Output]:  # noqa: ARG002
        """No clock."""
        return []

    def _consolidate(self, draft: Draft, candidate: Candidate) -> MemoryChange | None:
        """What a candidate changes; none when it says nothing new."""
        if candidate.kind == "turn":
            return None if draft.has_turn(candidate.memory_id) else self._added(draft, candidate)
        known = draft.fact(candidate.memory_id) or draft.fact_like(candidate.text)
        if known is None:
            return self._added(draft, candidate)
        new_sources = [event for event in candidate.source_event_ids if event not in known.source_event_ids]
        return self._reinforced(draft, known, candidate, new_sources) if new_sources else None

    def _added(self, draft: Draft, candidate: Candidate) -> MemoryChange:
        return MemoryChange(
            change_id=ids.change_id(candidate.memory_id, Op.ADDED, candidate.cause, draft.forgets),
            op=Op.ADDED,
            cause=candidate.cause,
            generation=self._generation,
            tenant=candidate.tenant,
            user_id=candidate.user_id,
            revision=draft.revision + 1,
            memory_id=candidate.memory_id,
            kind=candidate.kind,
            conversation_id=candidate.conversation_id,
            role=candidate.role,
            name=candidate.name,
            slot=candidate.slot,
            source_event_ids=candidate.source_event_ids,
            occurred_at=candidate.occurred_at,
            valid_from=candidate.valid_from,
            valid_to=None,
            recorded_at=candidate.source.recorded_at,
            retracted_at=None,
            superseded_by=None,
            text=candidate.text,
        )

    def _reinforced(self, draft: Draft, known: Memory, candidate: Candidate, new_sources: list[str]) -> MemoryChange:
        return MemoryChange(
            change_id=ids.change_id(known.memory_id, Op.REINFORCED, candidate.cause, draft.forgets),
            op=Op.REINFORCED,
            cause=candidate.cause,
            generation=self._generation,
            tenant=known.tenant,
            user_id=known.user_id,
            revision=draft.revision + 1,
            memory_id=known.memory_id,
            kind=known.kind,
            conversation_id=known.conversation_id,
            role=known.role,
            name=known.name,
            slot=known.slot,
            source_event_ids=[*known.source_event_ids, *new_sources],
            occurred_at=known.occurred_at,
            valid_from=min(known.valid_from, candidate.valid_from),
            valid_to=known.valid_to,
            recorded_at=max(known.recorded_at, candidate.source.recorded_at),
            retracted_at=known.retracted_at,
            superseded_by=known.superseded_by,
            text=known.text,
        )

    async def _drafts(self, batch: MicroBatch[EmbeddedRecord]) -> Drafts:
        """A draft for every user of the batch; those not at hand are loaded first."""
        wanted: dict[int, dict[UserKey, None]] = {}
        for record in batch.records:
            if isinstance(record.event, Embedded):
                wanted.setdefault(record.partition, {})[record.event.candidate.user] = None
        drafts: Drafts = {}
        for partition, users in wanted.items():
            kept = self._partitions[partition]
            await self._make_room(kept, keep=users.keys())
            missing = [kept.heads[user] for user in users if user not in kept.users and user in kept.heads]
            for loaded in await self._loader.load(partition, missing):
                kept.users[loaded.head.user] = loaded
            drafts[partition] = {user: self._draft(kept, user) for user in users}
        return drafts

    def _draft(self, kept: _Partition, user: UserKey) -> Draft:
        base = kept.users.get(user)
        if base is None:
            base = UserMemories(Head(tenant=user.tenant, user_id=user.user_id, generation=self._generation))
        return Draft(base)

    async def _make_room(self, kept: _Partition, *, keep: Any) -> None:
        """Let the least recently used users go, but only those that the store has completely."""
        limit = max(1, self._max_users // max(1, len(self._partitions)))
        if len(kept.users) <= limit:
            return
        oldest = [user for user in list(kept.users)[:_EVICT_AT_ONCE] if user not in keep]
        for user in await self._loader.indexed([kept.users[user].head for user in oldest]):
            del kept.users[user]


_WATERMARK_HEADERS: headers.Headers = [
    ("ce_specversion", b"1.0"),
    ("ce_type", headers.WATERMARK_TYPE.encode()),
    ("content-type", b"application/json"),
]


def _changed(users: dict[UserKey, Draft]) -> dict[UserKey, Head]:
    return {user: draft.head() for user, draft in users.items() if draft.revision != draft.base.head.revision}


def _change_outputs(
    changes: list[tuple[int, MemoryChange, bytes]], changed: dict[int, dict[UserKey, Head]]
) -> list[Output]:
    outputs = []
    for partition, change, vector in changes:
        head = changed[partition][change.user]
        record_headers = [
            *headers.cloudevent(
                event_id=change.change_id,
                event_type=headers.CHANGE_TYPE,
                source=f"memstream/generation/{change.generation}",
                time=change.recorded_at,
            ),
            (headers.VECTOR, vector),
        ]
        if change.revision == head.revision:
            # The user's last change of the batch brings the head along: index copies it to the store, after the objects
            record_headers.append((headers.HEAD, topics.HEADS.codec.encode(head)))
        outputs.append(
            Output(
                topic=topics.CHANGES,
                partition=partition,
                key=keys.user_key_bytes(change.user),
                value=topics.CHANGES.codec.encode(change),
                headers=record_headers,
            )
        )
    return outputs


def _head_outputs(changed: dict[int, dict[UserKey, Head]]) -> list[Output]:
    return [
        Output(
            topic=topics.HEADS,
            partition=partition,
            key=keys.user_key_bytes(user),
            value=topics.HEADS.codec.encode(head),
        )
        for partition, heads in changed.items()
        for user, head in heads.items()
    ]


def create(settings: Settings, clock: Clock, *, reader: LogReader | None = None) -> Consolidate:
    """The stage as the worker runs it, or with another reader of the log."""
    return Consolidate(
        create_store(settings, dimensions=create_embedder().dimensions),
        reader=reader
        or KafkaLogReader(settings.kafka, client_id="memstream.consolidate.gate", monotonic_s=clock.monotonic_s),
        clock=clock,
        generation=settings.worker.generation,
        max_users=settings.consolidate.max_users,
        load_deadline=settings.consolidate.load_deadline,
    )
