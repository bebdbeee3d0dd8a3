"""Stage 3 of 6, embed: candidates get their vectors, in batches over users."""

from collections.abc import Sequence
from functools import partial

from schemas.candidate import Candidate, CandidateRecord, Embedded
from streams.clock import Clock
from streams.embedders.factory import create_embedder
from streams.embedders.protocol import Embedder
from streams.engine.stage import (
    Answers,
    Consumed,
    Decision,
    MicroBatch,
    Output,
    StatelessStage,
    collect_watermarks,
    watermark_outputs,
)
from streams.settings import Settings
from topology import graph, keys, topics


class Embed(StatelessStage):
    """Candidates to embedded candidates, in their order."""

    spec = graph.stage(graph.StageName.EMBED)

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def decide(self, batch: MicroBatch[CandidateRecord]) -> Decision:
        """One call of the embedder for all users of the batch."""
        decision = Decision(outputs=watermark_outputs(topics.EMBEDDED, collect_watermarks(batch)))
        found = [(record, record.event) for record in batch.records if isinstance(record.event, Candidate)]
        if found:
            decision.ask = partial(self._embed, found)
        return decision

    async def _embed(self, found: Sequence[tuple[Consumed[CandidateRecord], Candidate]]) -> Answers:
        # As vectors travel: float16, little endian; converted once for the whole batch.
        vectors = (await self._embedder.embed([candidate.text for _, candidate in found])).astype("<f2")
        return Answers(
            outputs=[
                Output(
                    topic=topics.EMBEDDED,
                    partition=record.partition,
                    key=keys.user_key_bytes(candidate.user),
                    value=topics.EMBEDDED.codec.encode(
                        Embedded(candidate=candidate, model=self._embedder.model, vector=vector.tobytes())
                    ),
                )
                for (record, candidate), vector in zip(found, vectors, strict=True)
            ]
        )


def create(settings: Settings, clock: Clock) -> Embed:  # noqa: ARG001  (all stages are made alike)
    """The stage as the worker runs it."""
    return Embed(create_embedder())
