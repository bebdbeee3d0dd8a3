"""Two legs to one ranking, the same on every store: scores are brought to 0-1 within each leg, then weighed."""

from dataclasses import dataclass

from schemas.memory import Memory
from streams.stores.protocol import Hit, Legs

VECTOR_WEIGHT_RATIO = 0.5
"""Half and half was best on the development dialogues (`memory-systems.md` 13a: hybrid 0.5)."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One memory with its fused score, 0 to 1."""

    memory: Memory
    score: float


def fuse(legs: Legs, *, vector_weight_ratio: float = VECTOR_WEIGHT_RATIO) -> list[Ranked]:
    """Rank what either leg found, best first; ties by newest, then by id, so that an answer never flickers."""
    scores: dict[str, float] = {}
    memories: dict[str, Memory] = {}
    for hits, weight in ((legs.lexical, 1 - vector_weight_ratio), (legs.vector, vector_weight_ratio)):
        for hit, scaled in zip(hits, _scaled(hits), strict=True):
            memories[hit.memory.memory_id] = hit.memory
            scores[hit.memory.memory_id] = scores.get(hit.memory.memory_id, 0.0) + weight * scaled
    ranked = [Ranked(memories[memory_id], score) for memory_id, score in scores.items()]
    ranked.sort(key=lambda r: (-r.score, -r.memory.occurred_at.timestamp(), r.memory.memory_id))
    return ranked


def _scaled(hits: list[Hit]) -> list[float]:
    if not hits:
        return []
    low, high = min(hit.score for hit in hits), max(hit.score for hit in hits)
    return [1.0 if high == low else (hit.score - low) / (high - low) for hit in hits]
