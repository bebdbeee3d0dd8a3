"""`memstream changes` and `search` behind a running worker."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from integration.cli.conftest import Command, StartWorker

from streams.cli.child_worker import child_environment
from streams.clients.status import Status
from streams.settings import Settings

pytestmark = pytest.mark.stack

TURN = (
    '{"type":"turn","tenant":"acme","user_id":"%s","conversation_id":"c","event_id":"%s","role":"user","content":"%s"}'
)


def turns(*said: tuple[str, str, str]) -> bytes:
    """Turns as JSON Lines: user, event id, content."""
    return "\n".join(TURN % turn for turn in said).encode()


def lines(output: bytes) -> list[dict[str, object]]:
    """JSON objects, one a line."""
    return [json.loads(line) for line in output.splitlines()]


def test_changes_and_memories_can_be_read(
    memstream: Command, start_worker: StartWorker, settled: Callable[[], Status]
) -> None:
    """What was published comes out as changes, filtered as asked, and is found by search; no command hangs."""
    start_worker()
    published = turns(("maria", "m1", "The harbour is quiet today."), ("li", "l1", "今天港口很安静。"))
    assert memstream("publish", "-", given=published).returncode == 0
    settled()
    everything = lines(memstream("changes", "--json").stdout)
    texts = {change["text"] for change in everything if change["kind"] == "turn"}
    assert texts == {"The harbour is quiet today.", "今天港口很安静。"}
    of_li = lines(memstream("changes", "--user", "li", "--tenant", "acme", "--json").stdout)
    assert {change["user_id"] for change in of_li} == {"li"}
    assert lines(memstream("changes", "--tenant", "other", "--json").stdout) == []
    assert lines(memstream("changes", "--from", "end", "--json").stdout) == []

    found = json.loads(memstream("search", "li", "港口", "--tenant", "acme", "--json").stdout)
    assert found["results"][0]["text"] == "今天港口很安静。"
    assert set(found["results"][0]) == {
        "memory_id", "kind", "text", "score", "source_event_ids", "conversation_id", "name", "valid_from", "valid_to",
        "revision",
    }  # fmt: skip
    assert json.loads(memstream("search", "li", "港口", "--json").stdout) == {"results": []}

    people = memstream("changes", "--user", "maria").stdout.decode()
    assert "acme/maria r1 turn The harbour is quiet today." in people
    assert "\x1b" not in people


def test_changes_go_on_from_a_place(
    memstream: Command, start_worker: StartWorker, settled: Callable[[], Status]
) -> None:
    """A line of the readable form ends with the place from which the rest can be read."""
    start_worker()
    said = [("maria", f"m{n}", f"Number {n} of some turns.") for n in range(5)]
    assert memstream("publish", "-", given=turns(*said)).returncode == 0
    settled()
    shown = memstream("changes").stdout.decode().splitlines()
    partition, _, offset = shown[2].rpartition("  ")[2].partition(":")
    rest = memstream("changes", "--from", f"{partition}:{offset}").stdout.decode().splitlines()
    assert rest == shown[2:]
    for place, valid in (("99:0", "partitions 0 to 3"), (f"{partition}:99999", "it has offsets 0 to ")):
        refused = memstream("changes", "--from", place)
        assert (refused.returncode, refused.stdout) == (2, b"")
        assert valid in refused.stderr.decode()


def test_following_shows_what_comes_later(memstream: Command, start_worker: StartWorker, settings: Settings) -> None:
    """With --follow the command waits, and prints a change that was published after it started."""
    start_worker()
    command = [sys.executable, "-m", "streams.cli.main", "changes", "--follow", "--json", "--user", "maria"]
    environment = child_environment(os.environ, settings)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert memstream("publish", "-", given=turns(("maria", "m1", "Later."))).returncode == 0
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["text"] == "Later."
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_reader_that_leaves_early_is_no_error(
    memstream: Command, start_worker: StartWorker, settled: Callable[[], Status], settings: Settings
) -> None:
    """Piped into `head`, the command ends quietly and with exit code 0, in both forms."""
    start_worker()
    many = turns(*((f"u{n}", f"e{n}", "The harbour is quiet today.") for n in range(3000)))
    assert memstream("publish", "-", given=many).returncode == 0
    settled()
    for form in ([], ["--json"]):
        command = [sys.executable, "-m", "streams.cli.main", "changes", *form]
        environment = child_environment(os.environ, settings)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
