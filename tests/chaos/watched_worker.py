"""The real worker, watched: it keeps a journal of its batches and, if told so, ends itself at a named place.

    python -m chaos.watched_worker --journal FILE [--fate STAGE:PLACE:COUNT:END] [--stages NAME,...]

It watches from outside: the engine's own classes run, with a few calls written down before and after.
"""

import argparse
import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.fate import CALLING, PERFORMING, REVOKED, REVOKING, Fate
from chaos.journal import Deed, Journal, Part, hold_file

from streams.cli.worker import parse_stages
from streams.engine import runner
from streams.engine.attempt import Attempt, Attempts
from streams.engine.batcher import RawBatch
from streams.engine.chunk import Lease
from streams.engine.runner import Runner
from streams.engine.stage import Stage
from streams.engine.steps import Observe, Step
from streams.faust_worker import app, worker
from streams.settings import from_environment
from streams.stages.index import Writes
from streams.stages.invalidate import Invalidation
from topology.graph import StageName


class Watch:
    """Writes down what one stage does, and lets the process end where it must.

    Args:
        stage: which one.
        journal: where to.
        fate: of the process; counts only if it is this stage's.
    """

    def __init__(self, stage: StageName, journal: Journal, fate: Fate | None) -> None:
        self._stage = stage
        self._journal = journal
        self._fate = fate if fate is not None and fate.stage is stage else None
        self._passes = 0
        self.committing: Sequence[Part] = ()
        self.performing: tuple[Sequence[Part], dict[str, int]] = ((), {})
        self.revoking = asyncio.Event()

    @property
    def place(self) -> str | None:
        """Where this stage ends the process."""
        return self._fate.place if self._fate is not None else None

    def write(self, deed: Deed, parts: Sequence[Part] = (), **more: Any) -> None:
        """One entry of the journal."""
        self._journal.write(self._stage, deed, parts, **more)

    def is_told_to_hold(self) -> bool:
        """Whether batches are kept open until partitions go, so that there is one then."""
        return (
            self.place == REVOKING
            and not self.revoking.is_set()
            and hold_file(self._journal.path, self._stage).exists()
        )

    def observe(self, step: Step) -> None:
        """Called by the engine, in part on the thread of the transactions."""
        if step is Step.COMMITTED:
            self.write(Deed.COMMITTED, self.committing)
        self.come_through(step)
        if step is Step.COMMITTING and self.revoking.is_set():
            self.come_through(REVOKING)

    def come_through(self, place: str) -> bool:
        """End here, if it is the place and the time; true if the end was none, and the process has been thawed."""
        if self._fate is None or place != self._fate.place:
            return False
        self._passes += 1
        if self._passes != self._fate.count:
            return False
        self.write(Deed.MET_FATE, note=str(self._fate))
        self._fate.meet()
        self.write(Deed.WENT_ON)
        return True


_watches: dict[StageName, Watch] = {}


class WatchedAttempts(Attempts):
    """Attempts, with their records written down."""

    @property
    def _watch(self) -> Watch:
        return _watches[self._stage.spec.name]

    async def decide(self, raw: RawBatch, **more: Any) -> Attempt | None:
        self._watch.write(Deed.DECIDING, parts_of(raw))
        return await super().decide(raw, **more)

    async def perform(self, attempt: Attempt) -> None:
        if attempt.decision.effect is None:
            await super().perform(attempt)
            return
        parts, revisions = parts_of(attempt.raw), revisions_of(attempt.decision.effect)
        watch = self._watch
        watch.write(Deed.PERFORMING, parts, revisions=revisions)
        watch.performing = parts, revisions
        if writes_what_will_change(attempt.decision.effect):
            watch.come_through(PERFORMING)
        await super().perform(attempt)

    async def commit(self, attempts: Sequence[Attempt]) -> None:
        watch, parts = self._watch, [part for attempt in attempts for part in parts_of(attempt.raw)]
        if watch.is_told_to_hold():
            watch.write(Deed.HOLDING, parts)
            await watch.revoking.wait()
        watch.committing = parts
        try:
            await super().commit(attempts)
        except Exception as error:
            watch.write(Deed.REFUSED, parts, note=f"{type(error).__name__}: {error}")
            raise


class WatchedRunner(Runner):
    """A runner whose partitions are written down as they come and go, and whose stage's effects are."""

    def __init__(self, stage: Stage[Any], **more: Any) -> None:
        super().__init__(stage, **more)
        perform = stage.perform

        async def watched(effect: Any) -> None:
            parts, revisions = self._watch.performing
            self._watch.write(Deed.CALLING, parts, revisions=revisions)
            went_on = writes_what_will_change(effect) and self._watch.come_through(CALLING)

            def say(done: "asyncio.Future[None]") -> None:
                if not done.cancelled() and done.exception() is None:
                    self._watch.write(Deed.PERFORMED, parts, revisions=revisions)

            performing = asyncio.ensure_future(perform(effect))
            performing.add_done_callback(say)
            # What is on its way to a store nobody calls back: it is done although the engine gives its batch up.
            await (asyncio.shield(performing) if went_on else performing)

        stage.perform = watched  # type: ignore[method-assign]

    @property
    def _watch(self) -> Watch:
        return _watches[self._stage.spec.name]

    async def assigned(self, leases: list[Lease]) -> None:
        await super().assigned(leases)
        self._watch.write(Deed.ASSIGNED, [Part(x.partition, x.start_offset, x.start_offset) for x in leases])

    async def revoked(self, leases: list[Lease], *, lost: bool) -> None:
        watch = self._watch
        if leases:
            watch.revoking.set()
        await super().revoked(leases, lost=lost)
        watch.write(Deed.REVOKED, [Part(x.partition, x.next_offset, x.next_offset) for x in leases], note=f"{lost=}")
        if leases:
            watch.come_through(REVOKED)


def parts_of(raw: RawBatch) -> list[Part]:
    """The records of a batch."""
    return [Part(part.lease.partition, part.records[0].offset() or 0, part.last_offset) for part in raw.parts]


def revisions_of(effect: Any) -> dict[str, int]:
    """What an effect writes."""
    if isinstance(effect, Writes):
        memories = {row.memory.memory_id: row.memory.revision for row in effect.rows}
        return memories | {f"head of {head.user}": head.revision for head in effect.heads}
    if isinstance(effect, Invalidation):
        return {f"version of {user}": revision for user, revision in effect.versions.items()}
    return {}


def writes_what_will_change(effect: Any) -> bool:
    """Whether a later batch may write it again, newer: turns stay as they are, facts that hold may be superseded."""
    if isinstance(effect, Writes):
        return any(row.memory.kind == "fact" and row.memory.superseded_by is None for row in effect.rows)
    return True


def main() -> None:
    """Run the worker, watched."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--fate", type=Fate.parse)
    parser.add_argument("--stages")
    options = parser.parse_args()
    journal = Journal(options.journal)
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # whoever waits in vain asks where everybody stands

    def observe(stage: StageName) -> Observe:
        _watches[stage] = Watch(stage, journal, options.fate)
        return _watches[stage].observe

    def ready() -> None:
        sys.stdout.write('{"state":"ready"}\n')
        sys.stdout.flush()

    runner.Attempts = WatchedAttempts  # type: ignore[attr-defined]
    app.Runner = WatchedRunner  # type: ignore[attr-defined]
    worker.run(from_environment(os.environ), parse_stages(options.stages), ready=ready, observe=observe)


if __name__ == "__main__":
    main()
