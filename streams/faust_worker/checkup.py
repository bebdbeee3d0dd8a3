"""Looks at every stage each second, remembers how they are, and says once when one of them is stuck."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TextIO

import structlog

from streams.clock import Clock
from streams.engine.liveness import Condition, StageFacts, StageWatch, Verdict
from streams.faust_worker.stacks import task_stacks, write_threads
from streams.settings import HealthSettings
from topology.graph import StageName

log = structlog.get_logger("memstream.worker")

_LOOKED_EVERY_S = 1.0
_MAX_GAP = timedelta(seconds=5)
"""Looks that lie further apart: the loop was blocked, which is the watchdog's to say, or the process was halted."""


class Brokers(Protocol):
    """What is known of the brokers."""

    silent_s: float
    """For how long none has answered."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One stage as it was at the last look."""

    facts: StageFacts
    verdict: Verdict


class Checkup:
    """How the stages of this worker are.

    Args:
        stages: to look at, and who tells how each of them is.
        brokers: to ask about Kafka.
        settings: the limits.
        clock: what time it is.
        file: where the threads' stacks are written when a stage is stuck; a file of the system.
    """

    def __init__(
        self,
        stages: Mapping[StageName, Callable[[], StageFacts]],
        *,
        brokers: Brokers,
        settings: HealthSettings,
        clock: Clock,
        file: TextIO = sys.stderr,
    ) -> None:
        self._stages = stages
        self._brokers = brokers
        self._settings = settings
        self._clock = clock
        self._file = file
        self._watches = {
            name: StageWatch(
                name,
                stuck_after=settings.stuck_after,
                unready_after=settings.unready_after,
                max_gap=_MAX_GAP,
            )
            for name in stages
        }
        self._stuck: set[StageName] = set()
        self.findings: Mapping[StageName, Finding] = {}
        self.look()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_LOOKED_EVERY_S)
            self.look()

    def look(self) -> None:
        """Look at every stage now; what is newly stuck goes to the log, with the stacks, once until it moves again."""
        now_s = self._clock.monotonic_s()
        findings = {}
        for name, facts_of in self._stages.items():
            facts = facts_of()
            findings[name] = Finding(facts=facts, verdict=self._watches[name].look(facts, now_s=now_s))
        self.findings = findings
        stuck = {name for name, finding in findings.items() if finding.verdict.condition is Condition.STUCK}
        for name in sorted(self._stuck - stuck):
            log.warning("stage_moves_again", stage=name)
        if new := stuck - self._stuck:
            self._report(new)
        self._stuck = stuck

    @property
    def healthy(self) -> bool:
        """No stage is stuck, whatever the cause."""
        return all(finding.verdict.condition is not Condition.STUCK for finding in self.findings.values())

    @property
    def ready(self) -> bool:
        """Every stage has started and nothing that it needs is known to be away."""
        return self._kafka_answers and all(
            finding.verdict.condition is Condition.OK for finding in self.findings.values()
        )

    @property
    def _kafka_answers(self) -> bool:
        limit_s = self._settings.unready_after.total_seconds()
        return not limit_s or self._brokers.silent_s <= limit_s

    def body(self) -> dict[str, Any]:
        """All of it, for people: conditions, counts, and a sentence for whatever is not well."""
        reasons = [finding.verdict.reason for finding in self.findings.values() if finding.verdict.reason]
        if not self._kafka_answers:
            reasons.append(f"no Kafka broker has answered for {self._brokers.silent_s:.0f} s")
        return {
            "healthy": self.healthy,
            "ready": self.ready,
            "reasons": reasons,
            "stages": {
                name: {
                    "condition": finding.verdict.condition,
                    "partitions": sorted(finding.facts.loaded),
                    "loading": sorted(finding.facts.loading),
                    "waiting": dict(finding.facts.unsettled),
                    "settled": finding.facts.settled,
                    "retries": finding.facts.retries,
                    "still_s": round(finding.verdict.still_s, 1),
                }
                for name, finding in self.findings.items()
            },
            "kafka": {"silent_s": round(self._brokers.silent_s, 1)},
        }

    def _report(self, stuck: set[StageName]) -> None:
        for name in sorted(stuck):
            facts, verdict = self.findings[name].facts, self.findings[name].verdict
            log.error(
                "stage_stuck",
                stage=name,
                reason=verdict.reason,
                motion=verdict.motion,
                still_s=round(verdict.still_s, 1),
                limit_s=self._settings.stuck_after.total_seconds(),
                waiting=dict(facts.unsettled),
                loading=sorted(facts.loading),
                retries=verdict.retries,
            )
        # Tasks are not told apart by stage: the pipelines of all stages run the same code on one loop.
        log.error("stacks", stages=sorted(stuck), tasks=task_stacks(asyncio.all_tasks()))
        write_threads(self._file)
