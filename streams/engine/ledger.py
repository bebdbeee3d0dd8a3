"""The books: what became of each offset, as one entry a partition and batch, and dead letters for what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from confluent_kafka import Message

from schemas.headers import Headers
from schemas.outcome import DeadLetter, LedgerEntry, Outcome, Reason, Verdict
from streams.engine.batcher import Part, RawBatch
from streams.engine.raw_record import headers_of, offset_of, partition_of, recorded_at
from streams.engine.stage import Decision, Output, Poisoned
from streams.errors import BugError
from topology import topics
from topology.graph import StageSpec


@dataclass(frozen=True, kw_only=True)
class Failed:
    """One record that the stage could not handle."""

    message: Message
    reason: Reason
    error: str
    attempts: int
    headers: Headers = field(default_factory=list)


def failed_of(batch: RawBatch, poisoned: Sequence[Poisoned]) -> list[Failed]:
    """What a stage gave up by itself, with the records as they came."""
    if not poisoned:
        return []
    messages = {(lease.partition, message.offset()): message for lease, message in batch}
    return [
        Failed(
            message=messages[one.record.partition, one.record.offset],
            reason=one.reason,
            error=f"{type(one.error).__name__}: {one.error}",
            attempts=1,
            headers=one.headers,
        )
        for one in poisoned
    ]


def ledger_outputs(
    spec: StageSpec,
    batch: RawBatch,
    decision: Decision,
    failed: Sequence[Failed],
    *,
    generation: int,
    decided_at: datetime,
) -> list[Output]:
    """The ledger entries of a batch: one per input partition, all of them in the partition of the lowest one.

    Elsewhere partition p leads to partition p. Here it does not, because every partition of a transaction is a produce
    request, a check by the coordinator, an append and a marker of its own: a transaction over 4 partitions of data, 4
    of the ledger and the offsets cost a broker 4.3-7.4 ms of processor time, with one ledger partition 3.3-3.5 ms. An
    entry says itself which partition it is about; `topology.topics.ledger_partitions` says where to look for it.

    Raises:
        BugError: a stage gave two outcomes to one event, or one to an event that is not in the batch.
    """
    verdicts: dict[int, list[Verdict]] = {p: list(v) for p, v in decision.verdicts.items()}
    for letter in failed:
        verdict = Verdict(offset_of(letter.message), Outcome.DEAD_LETTERED, letter.reason)
        verdicts.setdefault(partition_of(letter.message), []).append(verdict)
    parts = sorted(batch.parts, key=lambda part: part.lease.partition)
    return [
        Output(
            topic=topics.LEDGER,
            partition=parts[0].lease.partition,
            key=spec.name.encode(),
            value=topics.LEDGER.codec.encode(
                _entry(
                    spec,
                    part,
                    verdicts.pop(part.lease.partition, []),
                    generation=generation,
                    decided_at=decided_at,
                )
            ),
        )
        for part in parts
    ] + _nothing_left(spec, verdicts)


def _entry(
    spec: StageSpec, part: Part, verdicts: list[Verdict], *, generation: int, decided_at: datetime
) -> LedgerEntry:
    partition = part.lease.partition
    verdicts.sort(key=lambda verdict: verdict.offset)
    judged = [verdict.offset for verdict in verdicts]
    if judged and (len(set(judged)) != len(judged) or not set(judged) <= set(map(offset_of, part.records))):
        raise BugError(f"{spec.name} partition {partition}: outcomes {judged} do not fit the batch's offsets")
    filtered = sum(verdict.outcome is Outcome.FILTERED for verdict in verdicts)
    return LedgerEntry(
        stage=spec.name,
        topic=spec.reads.name,
        partition=partition,
        first_offset=part.first_offset,
        last_offset=part.last_offset,
        applied=len(part.records) - len(verdicts),
        filtered=filtered,
        dead_lettered=len(verdicts) - filtered,
        verdicts=verdicts,
        decided_at=decided_at,
        generation=generation,
    )


def _nothing_left(spec: StageSpec, verdicts: Mapping[int, list[Verdict]]) -> list[Output]:
    if verdicts:
        raise BugError(f"{spec.name}: outcomes for partitions that are not in the batch: {sorted(verdicts)}")
    return []


def dead_letter_outputs(spec: StageSpec, failed: Sequence[Failed], *, failed_at: datetime) -> list[Output]:
    """The dead letters of a batch, each whole and with its origin."""
    outputs = []
    for letter in failed:
        message = letter.message
        body = DeadLetter(
            stage=spec.name,
            topic=spec.reads.name,
            partition=partition_of(message),
            offset=offset_of(message),
            recorded_at=recorded_at(message),
            key=message.key(),
            value=message.value(),
            headers=[*letter.headers, *(headers_of(message) or [])],
            reason=letter.reason,
            error=letter.error,
            attempts=letter.attempts,
            failed_at=failed_at,
        )
        value = topics.DLQ.codec.encode(body)
        outputs.append(Output(topic=topics.DLQ, partition=body.partition, key=message.key(), value=value))
    return outputs
