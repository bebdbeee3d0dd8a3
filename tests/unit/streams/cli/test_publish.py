"""Publishing from JSON Lines: what becomes of each line, and how much may be under way."""

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from streams.cli import publish as command
from streams.cli.publish import Summary, with_tenant
from streams.clients.json_lines import Line
from streams.clients.publisher import ConversationPublisher, Receipt
from streams.errors import TransientError

RECEIPT = Receipt(topic="t", partition=0, offset=0, event_id=None)


class SlowPublisher:
    """Acknowledges an event only when somebody waits for it; its own buffer holds 7."""

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[Receipt]] = deque()
        self.most = 0

    def send(self, _: bytes) -> "asyncio.Future[Receipt]":
        """Take an event, or refuse it when the buffer is full."""
        if len(self.waiting) == 7:
            asyncio.get_running_loop().call_soon(self.acknowledge)
            raise TransientError("full")
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.waiting.append(receipt)
        self.most = max(self.most, len(self.waiting))
        asyncio.get_running_loop().call_later(0.001, self.acknowledge)
        return receipt

    def acknowledge(self) -> None:
        """The oldest one is in the log."""
        if self.waiting:
            self.waiting.popleft().set_result(RECEIPT)


def waiting_for(publisher: SlowPublisher, summary: Summary) -> command._Waiting:
    """Events on their way through this publisher."""
    return command._Waiting(cast("ConversationPublisher", publisher), summary)


async def test_a_full_buffer_is_waited_for_and_every_event_is_counted() -> None:
    """When the publisher refuses for lack of room, the oldest receipt is waited for; no event is lost or doubled."""
    publisher, summary = SlowPublisher(), Summary()
    waiting = waiting_for(publisher, summary)
    for _ in range(50):
        await waiting.send(b"x")
    await waiting.rest()
    assert summary.published == 50
    assert publisher.most == 7


async def test_few_large_events_are_under_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are bounded, not only numbers: memory stays small whatever the events' size."""
    monkeypatch.setattr(command, "_MAX_WAITING_BYTES", 250)
    publisher, summary = SlowPublisher(), Summary()
    waiting = waiting_for(publisher, summary)
    for _ in range(20):
        await waiting.send(b"x" * 100)
    await waiting.rest()
    assert publisher.most == 3
    assert summary.published == 20


async def test_a_failed_receipt_is_raised() -> None:
    """An event that Kafka did not take ends the command instead of being counted."""
    summary = Summary()
    publisher = SlowPublisher()
    waiting = waiting_for(publisher, summary)
    await waiting.send(b"x")
    publisher.waiting.popleft().set_exception(TransientError("timed out"))
    with pytest.raises(TransientError):
        await waiting.rest()
    assert summary.published == 0


def test_bad_lines_are_all_counted_and_the_first_thousand_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """However many lines are bad, the summary stays small, and each is reported."""
    summary = Summary()
    waiting = waiting_for(SlowPublisher(), summary)
    for number in range(1, 1501):
        waiting.report(Line(number, b"x", 1), "no event")
    assert (summary.bad, len(summary.bad_lines)) == (1500, 1000)
    assert capsys.readouterr().err.count("\n") == 1500


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"type": "turn"}', {"type": "turn", "tenant": "acme"}),
        (b'{"type": "turn", "tenant": "other"}', {"type": "turn", "tenant": "other"}),
        (b'{"mood": [1, {"a": null}]}', {"mood": [1, {"a": None}], "tenant": "acme"}),
    ],
)
def test_a_default_tenant_is_added_where_there_is_none(line: bytes, expected: dict[str, Any]) -> None:
    """An event's own tenant wins; every other field is kept."""
    assert json.loads(with_tenant(line, "acme")) == expected


@pytest.mark.parametrize("line", [b"not json", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_left_to_be_refused(line: bytes) -> None:
    """A line that is no event does not fail here: it is reported by its number later."""
    assert with_tenant(line, "acme") == line


async def test_a_file_comes_in_chunks_and_whole(tmp_path: Path) -> None:
    """All bytes of a file arrive, in order, in chunks of bounded size."""
    file = tmp_path / "events.jsonl"
    content = bytes(range(256)) * 4000
    file.write_bytes(content)
    chunks = [chunk async for chunk in command._chunks(str(file))]
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) <= 256 * 1024


def test_a_tenant_with_a_slash_is_wrong_use(tmp_path: Path) -> None:
    """A tenant that no event may have is refused before anything is sent."""
    file = tmp_path / "events.jsonl"
    file.touch()
    options = ["--bootstrap-servers", "127.0.0.1:1", "--tenant", "a/b"]
    result = CliRunner().invoke(command.publish, [str(file), *options])
    assert result.exit_code == 2
    assert "tenant holds a slash" in result.output
