"""`memstream publish` against a real broker."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from integration.cli.conftest import Command

from schemas import headers
from streams.cli.child_worker import child_environment
from streams.clients.log_scan import LogScan
from streams.settings import Settings
from topology import topics

pytestmark = pytest.mark.stack

GOOD = (
    b'{"type": "turn",  "user_id": "u1", "conversation_id": "c", "event_id": "e1", "role": "user", "content": "One",'
    b' "mood": {"happy": 1.50}}'
)
ENDED = b'{"type":"conversation_ended","user_id":"u1","conversation_id":"c"}'


def values(settings: Settings) -> list[bytes]:
    """What stands in the log."""
    scan = LogScan(settings.kafka, client_id="test")
    return [value for message in scan.read_all(topics.CONVERSATION_EVENTS) if (value := message.value()) is not None]


def test_good_lines_go_out_as_they_are_and_bad_ones_are_reported(
    memstream: Command, settings: Settings, tmp_path: Path
) -> None:
    """Bad lines cost an exit code and a message with their number; the others are in the log, byte by byte."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([GOOD, b"", b"not json", ENDED, b'{"type": "idle"}', b"x" * 300_000]))
    done = memstream("publish", file, "--json", "--receipts")
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["published"], summary["bad"]) == (2, 3)
    assert [bad["line"] for bad in summary["bad_lines"]] == [3, 5, 6]
    assert [receipt["event_id"] for receipt in summary["receipts"]] == ["e1", None]
    assert b"line 3: " in done.stderr
    assert values(settings) == [GOOD, ENDED]


def test_it_reads_standard_input_and_sets_a_default_tenant(memstream: Command, settings: Settings) -> None:
    """Events from a pipe, with the tenant of the command where they have none."""
    done = memstream("publish", "-", "--tenant", "acme", given=GOOD + b"\n")
    assert (done.returncode, done.stdout) == (0, b"published 1 event\n"), done.stderr
    [value] = values(settings)
    assert json.loads(value) == {**json.loads(GOOD), "tenant": "acme"}


def test_a_live_pipe_is_published_line_by_line(settings: Settings) -> None:
    """A line from a pipe that stays open is in the log before the next one comes."""
    command = [sys.executable, "-m", "streams.cli.main", "publish", "-"]
    process = subprocess.Popen(
        command,
        env=child_environment(os.environ, settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        for count in (1, 2):
            process.stdin.write(GOOD + b"\n")
            process.stdin.flush()
            _until_log_has(settings, count)
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_topics_are_created_when_there_are_none(memstream: Command, settings: Settings) -> None:
    """Publishing into a fresh namespace works before any worker ran."""
    fresh = settings.replace("kafka", namespace=f"{settings.kafka.namespace}fresh.")
    done = memstream("publish", "-", "--namespace", fresh.kafka.namespace, given=ENDED)
    assert done.returncode == 0, done.stderr
    assert values(fresh) == [ENDED]


def test_a_hundred_thousand_events_go_through_in_bounded_memory(
    memstream: Command, settings: Settings, tmp_path: Path
) -> None:
    """All of a large file is acknowledged and in the log, in order per user."""
    file = tmp_path / "many.jsonl"
    turn = '{"type":"turn","user_id":"u%d","conversation_id":"c","event_id":"%d","role":"user","content":"Hello"}\n'
    file.write_text("".join(turn % (n % 50, n) for n in range(100_000)))
    done = memstream("publish", file, "--json")
    assert json.loads(done.stdout)["published"] == 100_000, done.stderr
    seen: dict[str, list[int]] = {}
    for value in values(settings):
        event = json.loads(value)
        seen.setdefault(event["user_id"], []).append(int(event["event_id"]))
    assert all(events == list(range(int(user[1:]), 100_000, 50)) for user, events in seen.items())
    assert len(seen) == 50


def test_a_broker_that_is_away_is_named_within_half_a_minute(memstream: Command) -> None:
    """Without a broker the command ends soon, with cause and next step, and exit code 3."""
    since_s = time.monotonic()
    done = memstream("publish", "-", "--bootstrap-servers", "127.0.0.1:1", given=GOOD)
    assert done.returncode == 3
    assert b"next: " in done.stderr
    assert time.monotonic() - since_s < 30


def test_events_have_their_cloudevents_headers(memstream: Command, settings: Settings) -> None:
    """Published events carry the attributes that the public form promises."""
    assert memstream("publish", "-", given=GOOD).returncode == 0
    [message] = LogScan(settings.kafka, client_id="test").read_all(topics.CONVERSATION_EVENTS)
    attributes = message.headers()
    assert headers.get(attributes, "ce_id") == b"e1"  # type: ignore[arg-type]
    assert headers.get(attributes, "ce_type") == b"memstream.conversation.turn"  # type: ignore[arg-type]


def _until_log_has(settings: Settings, count: int) -> None:
    ends_at_s = time.monotonic() + 30
    while len(values(settings)) != count:
        assert time.monotonic() < ends_at_s
        time.sleep(0.05)
