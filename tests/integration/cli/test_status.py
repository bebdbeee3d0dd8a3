"""`memstream status` against a real broker."""

import json
import time
from collections.abc import Callable

import pytest
from integration.cli.conftest import Command, StartWorker

from streams.clients.status import Status
from topology.graph import GRAPH

pytestmark = pytest.mark.stack

TURN = '{"type":"turn","user_id":"u%d","conversation_id":"c","event_id":"%d","role":"user","content":"Number %d."}\n'


def status_of(memstream: Command) -> dict[str, object]:
    """The status as programs read it."""
    done = memstream("status", "--json")
    assert done.returncode == 0, done.stderr
    status: dict[str, object] = json.loads(done.stdout)
    return status


def test_lag_is_everything_before_and_nothing_after(
    memstream: Command, start_worker: StartWorker, settled: Callable[[], Status]
) -> None:
    """Before a worker runs all events are lag; after it has caught up none is, transaction markers or not."""
    given = "".join(TURN % (n % 9, n, n) for n in range(300)).encode()
    assert memstream("publish", "-", given=given).returncode == 0
    before = status_of(memstream)
    assert before["caught_up"] is False
    lags = {stage["stage"]: (stage["lag_records"], stage["started"]) for stage in before["stages"]}  # type: ignore[attr-defined]
    assert lags["record"] == lags["extract"] == (300, False)
    assert lags["embed"] == (0, False)

    start_worker()
    settled()
    after = status_of(memstream)
    assert after["caught_up"] is True
    stages = {stage["stage"]: stage for stage in after["stages"]}  # type: ignore[attr-defined]
    assert list(stages) == [spec.name for spec in GRAPH]
    assert all((stage["lag_records"], stage["lag_s"], stage["members"]) == (0, 0.0, 1) for stage in stages.values())
    assert stages["record"]["applied"] == 300
    assert "caught up" in memstream("status").stdout.decode()


def test_missing_topics_are_said_with_a_next_step(memstream: Command) -> None:
    """In a namespace without topics the command says how they come to be."""
    done = memstream("status", "--namespace", "nobody.was.here.")
    assert done.returncode == 2
    assert b"topology apply" in done.stderr


def test_a_log_of_twenty_thousand_events_is_summed_up_quickly(
    memstream: Command, start_worker: StartWorker, settled: Callable[[], Status]
) -> None:
    """A status stays a matter of seconds when ledger and windows have grown."""
    given = "".join(TURN % (n % 500, n, n) for n in range(20_000)).encode()
    assert memstream("publish", "-", given=given).returncode == 0
    start_worker()
    assert settled().stages[0].settled >= 20_000
    since_s = time.monotonic()
    assert status_of(memstream)["caught_up"] is True
    assert time.monotonic() - since_s < 10  # 1 s on an idle machine; the bound is for machines that are not
