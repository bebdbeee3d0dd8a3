"""One try at one batch: the steps from raw records to a committed transaction, each of which may fail.

1. Decode; what is no event becomes a dead letter.
2. Let the stage decide.
3. Ask outside, where the stage wants to (slow, changes nothing there).
4. Publish copies and markers, acknowledged.
5. Perform the outside effect.
6. Commit: outputs, dead letters, ledger entries, watermarks and offsets in one transaction, maybe with those of the
   batches behind (`streams.engine.group_commit`).

`streams.engine.runner` says when; nothing but step 6 acknowledges anything.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import TopicPartition

from schemas.codec import Codec
from streams.clock import Clock
from streams.engine.batcher import RawBatch
from streams.engine.decoding import Decoded, decode_batch
from streams.engine.ledger import Failed, dead_letter_outputs, failed_of, ledger_outputs
from streams.engine.pauses import PauseWatch
from streams.engine.quarantine import CrashError, mark_behind
from streams.engine.stage import Answers, Decision, Output, Stage
from streams.engine.steps import Observe, Step
from streams.engine.transactions import Transactions
from streams.errors import TransientError

log = structlog.get_logger("memstream.engine")


@dataclass(kw_only=True)
class Attempt:
    """What one try has come to so far.

    Attributes:
        raw: the records it settles.
        given_up: those that are settled as dead letters without asking the stage.
        decoded: the records as events.
        decision: the stage's.
        answers: what the decision asked for.
    """

    raw: RawBatch
    given_up: Sequence[Failed]
    decoded: Decoded
    decision: Decision
    answers: Answers = field(default_factory=Answers)

    @property
    def letters(self) -> list[Failed]:
        """Everything of the batch that becomes a dead letter."""
        return [*self.given_up, *self.decoded.undecodable, *failed_of(self.raw, self.answers.poisoned)]

    def must_be_ours(self) -> None:
        """Look whether all its partitions are.

        Raises:
            TransientError: some were given back; whoever takes them back ends the batch.
        """
        if not all(lease.alive for lease in self.raw.leases):
            raise TransientError("partitions of the batch were given back")


class Attempts:
    """Makes tries, step by step.

    Args:
        stage: decides.
        codec: decodes its input.
        transactions: where results go.
        group_metadata: of the consumer, as of now; none while it is no member.
        namespace: put before every topic.
        generation: the derived view that the stage builds.
        clock: what time it is.
        pauses: says when nothing may be done outside.
        observe: told of each step.
    """

    def __init__(
        self,
        stage: Stage[Any],
        *,
        codec: Codec[Any],
        transactions: Transactions,
        group_metadata: Callable[[], Any],
        namespace: str,
        generation: int,
        clock: Clock,
        pauses: PauseWatch,
        observe: Observe,
    ) -> None:
        self._stage = stage
        self._codec = codec
        self._transactions = transactions
        self._group_metadata = group_metadata
        self._topic = namespace + stage.spec.reads.name
        self._generation = generation
        self._clock = clock
        self._pauses = pauses
        self._observe = observe

    async def decide(
        self, raw: RawBatch, *, given_up: Sequence[Failed] = (), crash: CrashError | None = None
    ) -> Attempt | None:
        """Steps 1 and 2.

        Args:
            raw: what to decide.
            given_up: those of its records that are settled as dead letters without asking the stage.
            crash: what became of processes that decided it before.

        Returns:
            The attempt; none when the stage can do no more about a crash than to give the event up.
        """
        decoded = decode_batch(raw, codec=self._codec, spec=self._stage.spec, given_up=given_up)
        self._observe(Step.TAKEN)
        if crash is None:
            decision = await self._stage.decide(decoded.batch)
        elif (without := await self._stage.give_up(decoded.batch, crash)) is None:
            return None
        else:
            decision = without
        for partition, verdicts in decoded.skipped.items():
            decision.verdicts.setdefault(partition, []).extend(verdicts)
        self._observe(Step.DECIDED)
        return Attempt(raw=raw, given_up=given_up, decoded=decoded, decision=decision)

    async def ask(self, attempt: Attempt) -> None:
        """Step 3; those of several batches run side by side."""
        if attempt.decision.ask is not None:
            attempt.answers = await attempt.decision.ask()
        self._observe(Step.ASKED)

    async def perform(self, attempt: Attempt) -> None:
        """Steps 4 and 5; batches take turns. Only what is ours may change anything outside.

        Raises:
            TransientError: partitions were given back; whoever takes them back ends the batch.
        """
        while doubt_s := self._pauses.doubt_s(now_s=self._clock.monotonic_s()):
            log.warning("effects_wait_after_pause", stage=self._stage.spec.name, wait_s=round(doubt_s, 3))
            await asyncio.sleep(doubt_s)
        attempt.must_be_ours()
        if attempt.decision.publish:
            await self._transactions.publish(attempt.decision.publish)
        if attempt.decision.effect is not None:
            await self._stage.perform(attempt.decision.effect)
        self._observe(Step.PERFORMED)

    async def commit(self, attempts: Sequence[Attempt]) -> None:
        """Step 6, for consecutive batches in one transaction; transactions take turns.

        Raises:
            TransientError: nothing is committed; the same attempts may commit again while their leases are alive.
        """
        # Together, with no await between: metadata that is newer than the look at the leases would let a commit pass.
        for attempt in attempts:
            attempt.must_be_ours()
        metadata = self._group_metadata()
        if metadata is None:
            raise TransientError("not a member of the group at the moment")
        newest = {part.lease.partition: part for attempt in attempts for part in attempt.raw.parts}
        await self._transactions.commit(
            [output for attempt in attempts for output in self._outputs(attempt)],
            offsets=[
                TopicPartition(self._topic, partition, part.last_offset + 1, mark_behind(part).to_text())
                for partition, part in sorted(newest.items())
            ],
            metadata=metadata,
        )
        self._observe(Step.COMMITTED)

    async def mark(self, places: Sequence[TopicPartition]) -> None:
        """Commit positions that do not move, for the marks in their metadata.

        Raises:
            TransientError: nothing is committed.
        """
        metadata = self._group_metadata()
        if metadata is None:
            raise TransientError("not a member of the group at the moment")
        await self._transactions.commit([], offsets=places, metadata=metadata)

    def _outputs(self, attempt: Attempt) -> list[Output]:
        decided_at = self._clock.now()
        spec, letters = self._stage.spec, attempt.letters
        return [
            *attempt.answers.outputs,
            *attempt.decision.outputs,
            *dead_letter_outputs(spec, letters, failed_at=decided_at),
            *ledger_outputs(
                spec,
                attempt.raw,
                attempt.decision,
                letters,
                generation=self._generation,
                decided_at=decided_at,
            ),
        ]
