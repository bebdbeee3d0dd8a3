"""A worker says by itself when it does not get on, and only then."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import create_topics
from e2e.blocking_extractor import BlockingExtractor
from e2e.hanging_extractor import ASKED_FILE, HangingExtractor
from e2e.log_history import LogFollower
from e2e.running_worker import RunningWorker

from infra.native.stack import Stack
from schemas.conversation import Turn
from streams.cli.context import stack_settings
from streams.clients.publisher import ConversationPublisher
from streams.settings import Settings

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

SECRET = "the brass lantern in the cellar"
STUCK_AFTER_S = 3.0


@pytest.fixture
def listening(light_settings: Settings) -> Settings:
    """Settings under which a worker answers on a port of its own, with limits of seconds."""
    return light_settings.replace(
        "health", port=free_port(), stuck_after=timedelta(seconds=STUCK_AFTER_S), unready_after=timedelta(seconds=2)
    ).replace("worker", revoke_deadline=timedelta(seconds=1))


@pytest.fixture
def stack_of_its_own(tmp_path: Path) -> Iterator[Stack]:
    """A light stack whose Kafka the test may stop."""
    stack = Stack("light", home=tmp_path / "home")
    try:
        stack.up()
        yield stack
    finally:
        stack.down(wipe=True)


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def ask(settings: Settings, path: str) -> tuple[int, Any]:
    """Status and body of `/health` or `/ready`."""
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.get(f"http://127.0.0.1:{settings.health.port}{path}")
    return answer.status_code, answer.json()


async def until_status(settings: Settings, path: str, status: int) -> Any:
    """The body of the first answer with that status."""
    async with asyncio.timeout(60):
        while (answer := await ask(settings, path))[0] != status:  # noqa: ASYNC110  (another process changes)
            await asyncio.sleep(0.2)
    return answer[1]


async def publish(settings: Settings, count: int) -> None:
    """Publish turns of some users."""
    async with ConversationPublisher(settings) as publisher:
        await publisher.publish_many(
            [
                Turn(
                    tenant="acme",
                    user_id=f"user-{number % 4}",
                    conversation_id="c",
                    event_id=f"e{number}",
                    role="user",
                    content=f"I keep {SECRET}, shelf {number}.",
                )
                for number in range(count)
            ]
        )


def logged(worker: RunningWorker, event: str) -> list[Any]:
    """The worker's log lines of one kind."""
    lines = (line for line in worker.log().splitlines() if line.startswith("{"))
    return [fields for line in lines if (fields := json.loads(line)).get("event") == event]


async def test_a_worker_that_has_done_its_work_stays_healthy(
    listening: Settings, new_worker: Callable[..., RunningWorker], follow: Callable[[Settings], LogFollower]
) -> None:
    """After its events are settled, a worker rests for three times the limit and is healthy and ready throughout."""
    worker = new_worker(listening.replace("extract", idle_after=timedelta(seconds=1)))
    worker.start()
    await asyncio.to_thread(worker.wait_ready)
    await publish(listening, 200)
    await asyncio.to_thread(follow(listening).wait_until_drained, timeout_s=60)
    await until_status(listening, "/ready", 200)

    for _ in range(int(3 * STUCK_AFTER_S / 0.25)):
        await asyncio.sleep(0.25)
        for path in ("/health", "/ready"):
            status, body = await ask(listening, path)
            assert status == 200, body

    assert not any(stage["waiting"] for stage in body["stages"].values())
    assert body["stages"]["record"]["partitions"] == [0, 1, 2, 3]
    assert not logged(worker, "stage_stuck")
    assert not logged(worker, "loop_blocked")
    assert worker.stop() == 0, worker.log_tail()


async def test_a_stage_that_hangs_fails_health_and_shows_where_it_hangs(
    listening: Settings, new_worker: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    """The stage is named, once, with the place in the code where it waits, and no word of what a user said."""
    asked = tmp_path / "asked"
    extractor = f"{HangingExtractor.__module__}:{HangingExtractor.__name__}"
    settings = listening.replace("extract", extractor=extractor, window_turns=2)
    tests = str(Path(__file__).parents[1])
    worker = new_worker(settings, environment={"PYTHONPATH": tests, ASKED_FILE: str(asked)})
    worker.start()
    await asyncio.to_thread(worker.wait_ready)
    await until_status(settings, "/ready", 200)
    await publish(settings, 16)

    body = await until_status(settings, "/health", 503)

    assert asked.exists(), "the extractor was never asked: something else is stuck"
    (reason,) = body["reasons"]
    assert reason.startswith("extract has settled nothing for ")
    assert reason.endswith("(limit 3 s); no call has failed meanwhile: it hangs, or one call takes that long")
    assert {name for name, stage in body["stages"].items() if stage["condition"] == "stuck"} == {"extract"}
    await asyncio.sleep(2 * STUCK_AFTER_S)  # it stays stuck, and that is no news
    assert (await ask(settings, "/ready"))[0] == 503
    (stuck,) = logged(worker, "stage_stuck")
    assert stuck["stage"] == "extract"
    assert stuck["waiting"]
    (stacks,) = logged(worker, "stacks")
    assert any("hanging_extractor.py" in stack and "HangingExtractor.extract" in stack for stack in stacks["tasks"])
    assert worker.log().count("threads: ") == 1
    assert "poll-" in worker.log()
    assert SECRET not in worker.log()
    assert worker.stop() == 0, worker.log_tail()


async def test_a_blocked_event_loop_is_shown_by_the_worker_itself(
    listening: Settings, new_worker: Callable[..., RunningWorker]
) -> None:
    """While the loop is blocked nobody answers; the log has the culprit, once, and the worker goes on afterwards."""
    extractor = f"{BlockingExtractor.__module__}:{BlockingExtractor.__name__}"
    settings = listening.replace("extract", extractor=extractor, window_turns=2)
    settings = settings.replace("health", blocked_after=timedelta(seconds=1))
    worker = new_worker(settings, environment={"PYTHONPATH": str(Path(__file__).parents[1])})
    worker.start()
    await asyncio.to_thread(worker.wait_ready)
    await until_status(settings, "/ready", 200)
    await publish(settings, 16)

    async with asyncio.timeout(60):
        while not logged(worker, "loop_answers_again"):  # noqa: ASYNC110  (another process logs)
            await asyncio.sleep(0.2)

    (blocked,) = logged(worker, "loop_blocked")
    assert blocked["limit_s"] == 1.0
    assert blocked["running"][-1].endswith(" BlockingExtractor.extract")
    assert worker.log().count("threads: ") == 1
    assert SECRET not in worker.log()
    await until_status(settings, "/health", 200)
    assert worker.stop() == 0, worker.log_tail()


async def test_a_part_that_is_away_makes_a_worker_unready_first_and_unhealthy_past_the_limit(
    listening: Settings, new_worker: Callable[..., RunningWorker]
) -> None:
    """Redis away: invalidate repeats its calls; that is told as what it is, and all other stages are well."""
    settings = listening.replace("redis", url=f"redis://127.0.0.1:{free_port()}/0")
    settings = settings.replace("health", stuck_after=timedelta(seconds=10))
    worker = new_worker(settings)
    worker.start()
    await asyncio.to_thread(worker.wait_ready)
    await until_status(settings, "/ready", 200)
    await publish(settings, 20)

    unready = await until_status(settings, "/ready", 503)
    unhealthy = await until_status(settings, "/health", 503)

    assert unready["healthy"]
    assert unready["stages"]["invalidate"]["condition"] == "hindered"
    for body in (unready, unhealthy):
        assert [name for name, stage in body["stages"].items() if stage["condition"] != "ok"] == ["invalidate"]
        (reason,) = body["reasons"]
        assert reason.startswith("invalidate has settled nothing for ")
        assert "; failed calls repeated meanwhile: " in reason
        assert "so what it needs is away" in reason
    worker.assert_running()
    assert worker.stop() == 0, worker.log_tail()


async def test_a_worker_without_kafka_ends_and_says_why(
    stack_of_its_own: Stack, new_worker: Callable[..., RunningWorker]
) -> None:
    """A worker that idles for longer than the limit stays; when Kafka then goes for longer, it ends with words."""
    limit = timedelta(seconds=5)
    settings = stack_settings(Settings(), stack_of_its_own.status()).replace("kafka", away_limit=limit, partitions=2)
    settings = settings.replace("worker", revoke_deadline=timedelta(seconds=1))
    settings = settings.replace("health", port=free_port(), unready_after=timedelta(seconds=1))
    create_topics(settings)
    worker = new_worker(settings)
    worker.start()
    await asyncio.to_thread(worker.wait_ready)
    await asyncio.sleep(2 * limit.total_seconds())
    worker.assert_running()

    await asyncio.to_thread(stack_of_its_own.kill_part, "kafka")
    body = await until_status(settings, "/ready", 503)
    assert body["healthy"]
    code = await asyncio.to_thread(worker.wait_ended, 100)

    assert code == 3, worker.log_tail()
    lines = worker.log().splitlines()
    assert lines[-2].startswith(f"error: no Kafka broker of {settings.kafka.bootstrap_servers} has answered for ")
    assert lines[-2].endswith("(limit 5 s)")
    assert lines[-1].startswith("next: start it or mend the way to it, then start the worker again")
    assert len(logged(worker, "kafka_gone")) == 1


async def test_a_worker_that_finds_no_kafka_says_so(
    light_settings: Settings, new_worker: Callable[..., RunningWorker]
) -> None:
    """Started before Kafka is there, a worker ends at once with the same exit code and the next step."""
    settings = light_settings.replace("kafka", bootstrap_servers=f"127.0.0.1:{free_port()}")
    worker = new_worker(settings)
    worker.start()

    assert await asyncio.to_thread(worker.wait_ended, 60) == 3
    lines = worker.log().splitlines()
    assert lines[-2].startswith(f"error: Kafka at {settings.kafka.bootstrap_servers} does not answer: ")
    assert lines[-1].startswith("next: start it ")


async def test_a_port_that_is_taken_is_named(listening: Settings, new_worker: Callable[..., RunningWorker]) -> None:
    """Two workers of one host with one port: the second says which setting to change."""
    with socket.create_server(("127.0.0.1", listening.health.port)):
        worker = new_worker(listening)
        worker.start()
        assert await asyncio.to_thread(worker.wait_ended, 60) == 2

    assert f"error: cannot answer /health on 127.0.0.1:{listening.health.port}" in worker.log()
    assert "MEMSTREAM_HEALTH_PORT" in worker.log()
