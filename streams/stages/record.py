"""Stage 1 of 6, record: every turn becomes a candidate at once, whatever the model behind extract does.

No state: a turn that is published twice has the same memory id twice, and consolidate filters the second.
"""

from schemas import headers, ids
from schemas.candidate import Candidate, Lane, Source, Watermark
from schemas.conversation import (
    AnyConversationEvent,
    ConversationEnded,
    Correction,
    Forget,
    Idle,
    Turn,
)
from schemas.outcome import Reason
from streams.clock import Clock
from streams.engine.stage import Consumed, Decision, MicroBatch, Output, StatelessStage, watermark_outputs
from streams.settings import Settings
from streams.stages.intake import is_misplaced, rerouted_headers, skip_reason, take_in
from topology import graph, keys, topics


class Record(StatelessStage):
    """Turns to candidates; misplaced events are sent on their way.

    Args:
        partitions: of every pipeline topic.
    """

    spec = graph.stage(graph.StageName.RECORD)

    def __init__(self, *, partitions: int) -> None:
        self._partitions = partitions

    async def decide(self, batch: MicroBatch[AnyConversationEvent]) -> Decision:
        """One candidate a turn, one copy a misplaced event; the lane's watermark is the batch's last offset."""
        decision = Decision()
        for record in batch.records:
            if is_misplaced(record, partitions=self._partitions):
                decision.publish.append(self._copy(record))
                decision.filter(record, Reason.REROUTED)
            elif (skip := skip_reason(record, lane=Lane.RECORD)) is not None:
                decision.filter(record, skip)
            else:
                self._decide_one(record, decision)
        watermarks = {partition: [Watermark(Lane.RECORD, last)] for partition, last in batch.last_offsets.items()}
        decision.outputs += watermark_outputs(topics.CANDIDATES, watermarks)
        return decision

    def _decide_one(self, record: Consumed[AnyConversationEvent], decision: Decision) -> None:
        match record.event:
            case Turn():
                decision.outputs.append(self._candidate(record, record.event))
            case ConversationEnded() | Idle():
                decision.filter(record, Reason.OTHER_LANE)
            case Forget() | Correction():
                decision.filter(record, Reason.NOT_SUPPORTED)

    def _candidate(self, record: Consumed[AnyConversationEvent], turn: Turn) -> Output:
        taken = take_in(record)
        candidate = Candidate(
            lane=Lane.RECORD,
            kind="turn",
            tenant=turn.tenant,
            user_id=turn.user_id,
            memory_id=ids.turn_memory_id(turn.user, taken.event_id),
            cause=taken.event_id,
            text=turn.content,
            conversation_id=turn.conversation_id,
            role=turn.role,
            name=turn.name,
            source_event_ids=[taken.event_id],
            source=Source(taken.offset, taken.offset, taken.recorded_at),
            occurred_at=taken.occurred_at,
            valid_from=taken.occurred_at,
        )
        return Output(
            topic=topics.CANDIDATES,
            partition=record.partition,
            key=keys.user_key_bytes(turn.user),
            value=topics.CANDIDATES.codec.encode(candidate),
            headers=trace_headers(record),
        )

    def _copy(self, record: Consumed[AnyConversationEvent]) -> Output:
        return Output(
            topic=topics.CONVERSATION_EVENTS,
            partition=keys.partition_of(record.event.user, self._partitions),
            key=keys.user_key_bytes(record.event.user),
            value=record.value,
            headers=rerouted_headers(record),
        )


def trace_headers(record: Consumed[object]) -> headers.Headers | None:
    """The trace context goes along with the event."""
    traceparent = headers.get(record.headers, headers.TRACEPARENT)
    return [(headers.TRACEPARENT, traceparent)] if traceparent is not None else None


def create(settings: Settings, clock: Clock) -> Record:  # noqa: ARG001  (all stages are made alike)
    """The stage as the worker runs it."""
    return Record(partitions=settings.kafka.partitions)
