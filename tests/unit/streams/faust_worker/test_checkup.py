"""The checkup: who is well, who is ready, and one report for each time that a stage is stuck."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import pytest
from structlog.testing import capture_logs

from streams.engine.liveness import StageFacts
from streams.faust_worker.checkup import Checkup
from streams.settings import HealthSettings
from topology.graph import StageName


@dataclass
class HandClock:
    """Time that the test sets."""

    now_s: float = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class KnownBrokers:
    """Brokers that are silent for as long as the test says."""

    silent_s: float = 0.0


class Worker:
    """Two stages whose facts the test sets, and their checkup."""

    def __init__(self, file: TextIO) -> None:
        self.facts = {StageName.RECORD: StageFacts(), StageName.INDEX: StageFacts()}
        self.clock = HandClock()
        self.brokers = KnownBrokers()
        self.checkup = Checkup(
            {name: lambda name=name: self.facts[name] for name in self.facts},
            brokers=self.brokers,
            settings=HealthSettings(stuck_after=timedelta(seconds=60), unready_after=timedelta(seconds=15)),
            clock=self.clock,
            file=file,
        )

    async def live(self, seconds: int, *, retrying: StageName | None = None) -> None:
        """Look each second, while polling goes on."""
        for _ in range(seconds):
            self.clock.now_s += 1
            for name, facts in self.facts.items():
                retries = facts.retries + (name is retrying)
                self.facts[name] = replace(facts, polls=facts.polls + 1, retries=retries)
            self.checkup.look()

    def tell(self, stage: StageName, **facts: Any) -> None:
        """Change the facts of a stage."""
        self.facts[stage] = replace(self.facts[stage], **facts)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A worker at rest."""
    with (tmp_path / "stacks").open("w") as file:
        yield Worker(file)


async def test_a_worker_at_rest_is_healthy_and_ready(worker: Worker) -> None:
    """Nothing to do for ten minutes."""
    await worker.live(600)

    assert worker.checkup.healthy
    assert worker.checkup.ready
    assert worker.checkup.body()["reasons"] == []


async def test_one_stuck_stage_makes_the_worker_unhealthy_and_is_reported_once(worker: Worker, tmp_path: Path) -> None:
    """One line that names the stage, one with the stacks, and none again until it moves and sticks anew."""
    with capture_logs() as events:
        worker.tell(StageName.INDEX, unsettled={2: 40})
        await worker.live(300)
        assert not worker.checkup.healthy
        assert not worker.checkup.ready
        (reason,) = worker.checkup.body()["reasons"]
        worker.tell(StageName.INDEX, settled=1)
        await worker.live(10)
        assert worker.checkup.healthy
        await worker.live(70)
        assert not worker.checkup.healthy

    assert reason.startswith("index has settled nothing for 299 s while records wait in partition 2 from offset 40")
    assert [event["event"] for event in events] == [
        "stage_stuck",
        "stacks",
        "stage_moves_again",
        "stage_stuck",
        "stacks",
    ]
    stuck = events[0]
    assert (stuck["stage"], stuck["motion"], stuck["limit_s"]) == ("index", "settling", 60)
    assert stuck["waiting"] == {2: 40}
    assert (tmp_path / "stacks").read_text().count("threads: ") == 2


async def test_a_stage_whose_store_is_away_is_not_ready_yet_healthy(worker: Worker) -> None:
    """Before the limit a worker that only repeats calls is not to be restarted."""
    worker.tell(StageName.INDEX, unsettled={2: 40})
    await worker.live(30, retrying=StageName.INDEX)

    assert worker.checkup.healthy
    assert not worker.checkup.ready
    assert worker.checkup.body()["stages"]["index"]["condition"] == "hindered"


async def test_past_the_limit_it_is_unhealthy_too_and_the_body_says_that_calls_fail(worker: Worker) -> None:
    """Events that wait for too long are too old, whatever holds them up; the words tell the cause."""
    worker.tell(StageName.INDEX, unsettled={2: 40})
    await worker.live(70, retrying=StageName.INDEX)

    assert not worker.checkup.healthy
    assert "what it needs is away" in worker.checkup.body()["reasons"][0]


async def test_a_stage_that_starts_makes_the_worker_unready(worker: Worker) -> None:
    """Ready means that every stage is."""
    worker.tell(StageName.RECORD, opened=False)
    await worker.live(5)
    assert worker.checkup.healthy
    assert not worker.checkup.ready

    worker.tell(StageName.RECORD, opened=True)
    await worker.live(1)
    assert worker.checkup.ready


async def test_silent_brokers_make_an_idle_worker_unready_and_leave_it_healthy(worker: Worker) -> None:
    """A restart does not bring Kafka back; that it stays away too long ends the worker by another way."""
    worker.brokers.silent_s = 16.0
    await worker.live(1)

    assert worker.checkup.healthy
    assert not worker.checkup.ready
    assert worker.checkup.body()["reasons"] == ["no Kafka broker has answered for 16 s"]
