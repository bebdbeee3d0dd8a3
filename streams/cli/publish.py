"""`memstream publish`: conversation events from JSON Lines into the log."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
import msgspec
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streams.cli.context import EXIT_FAILED, fail, json_option, print_json, reports_errors, run, settings_options
from streams.cli.display import counted, progress_console
from streams.clients.json_lines import Line, LineSplitter
from streams.clients.names import check_names
from streams.clients.publisher import ConversationPublisher, Receipt
from streams.errors import TransientError, UsageError
from streams.settings import Settings
from topology import provision

_CHUNK_BYTES = 256 * 1024
_MAX_WAITING = 10_000
"""Unacknowledged events; half a second of the publisher's work, far below librdkafka's own 100,000."""
_MAX_WAITING_BYTES = 16 * 1024 * 1024
_MAX_LISTED = 1000
"""Bad lines in the summary; all are counted and reported on standard error, so memory stays bounded."""
_AGAIN_NEXT = "publish it again once Kafka answers: an event that has an event_id changes nothing when it comes twice"


class BadLine(msgspec.Struct, frozen=True):
    """A line that was not published."""

    line: int
    reason: str


class Summary(msgspec.Struct, omit_defaults=False):
    """What became of the lines.

    Attributes:
        published: acknowledged by Kafka.
        bad: not published, since they are no events.
        bad_lines: the first 1000 of them.
        receipts: of all published events, in the order of the lines; only when asked for.
    """

    published: int = 0
    bad: int = 0
    bad_lines: list[BadLine] = []
    receipts: list[Receipt] | msgspec.UnsetType = msgspec.UNSET


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--tenant", metavar="T", help="Tenant of the events that name none; else it is `default`.")
@click.option("--receipts", is_flag=True, help="With --json: also where each event stands. Kept in memory.")
@settings_options
@json_option
@reports_errors
def publish(file: str, tenant: str | None, *, receipts: bool, settings: Settings, as_json: bool) -> None:
    """Publish the conversation events in FILE, one JSON object a line; - reads standard input.

    The forms are in docs/events.md. Lines go out as they are; unknown fields are kept. Blank lines are skipped. A line
    that is no event is reported with its number, and the others are published. When the command returns, what it counts
    as published is in the log.

    \b
    Examples:
        memstream publish conversations.jsonl
        tail -f app.jsonl | memstream publish - --tenant acme

    \b
    Exit codes: 0 all published; 1 some lines were bad, or Kafka did not take an event; 2 wrong use; 3 nothing to talk
    to; 130 interrupted.
    """
    check_names(tenant)
    create_topics(settings)
    summary = Summary(receipts=[] if receipts else msgspec.UNSET)
    try:
        with _progress(file) as advance:
            run(_publish(settings, file, tenant, summary, advance))
    except TransientError as error:
        before = counted(summary.published, "event")
        fail(f"{error}; acknowledged before: {before}", next_step=_AGAIN_NEXT)
    if as_json:
        print_json(summary)
    else:
        bad = f", {counted(summary.bad, 'bad line')}" if summary.bad else ""
        click.echo(f"published {counted(summary.published, 'event')}{bad}")
    if summary.bad:
        sys.exit(EXIT_FAILED)


def create_topics(settings: Settings) -> None:
    """Create topics that are missing, so that commands work in any order; an operator's own configs stay.

    Raises:
        ProvisionError: Kafka is away, or has topics with another partition count.
    """
    kafka = settings.kafka
    provision.apply(
        kafka.bootstrap_servers,
        namespace=kafka.namespace,
        partitions=kafka.partitions,
        replication=kafka.replication,
        alter_configs=False,
    )


async def _publish(
    settings: Settings, file: str, tenant: str | None, summary: Summary, advance: Callable[[int], None]
) -> None:
    splitter = LineSplitter(max_bytes=settings.worker.max_event_bytes)
    async with ConversationPublisher(settings, source="memstream/publish") as publisher:
        waiting = _Waiting(publisher, summary)
        async for chunk in _chunks(file):
            for line in splitter.feed(chunk):
                await _send(line, tenant, waiting)
            advance(len(chunk))
            waiting.collect()
        for line in splitter.end():
            await _send(line, tenant, waiting)
        await waiting.rest()


async def _send(line: Line, tenant: str | None, waiting: "_Waiting") -> None:
    if line.value is None:
        waiting.report(line, f"{line.size_bytes} bytes are more than one event may have (worker.max_event_bytes)")
        return
    try:
        await waiting.send(line.value if tenant is None else with_tenant(line.value, tenant))
    except UsageError as error:
        waiting.report(line, str(error))


class _Waiting:
    """Events on their way: bounded in number and bytes, counted when they are acknowledged."""

    def __init__(self, publisher: ConversationPublisher, summary: Summary) -> None:
        self._publisher = publisher
        self._summary = summary
        self._receipts: deque[tuple[asyncio.Future[Receipt], int]] = deque()
        self._bytes = 0

    async def send(self, value: bytes) -> None:
        """Hand an event over; waits while too much is under way."""
        while self._receipts and (len(self._receipts) >= _MAX_WAITING or self._bytes >= _MAX_WAITING_BYTES):
            await self._oldest()
        while True:
            try:
                receipt = self._publisher.send(value)
            except TransientError:  # librdkafka's own buffer is full
                if not self._receipts:
                    raise
                await self._oldest()
            else:
                self._receipts.append((receipt, len(value)))
                self._bytes += len(value)
                return

    def report(self, line: Line, reason: str) -> None:
        """Count a line that is no event, and say so."""
        self._summary.bad += 1
        if self._summary.bad <= _MAX_LISTED:
            self._summary.bad_lines.append(BadLine(line.number, reason))
        click.echo(f"line {line.number}: {reason}", err=True)

    def collect(self) -> None:
        """Count what is acknowledged already, without waiting; an error is raised here as early as can be."""
        while self._receipts and self._receipts[0][0].done():
            self._settle(self._receipts[0][0].result())

    async def rest(self) -> None:
        """Wait for all."""
        while self._receipts:
            await self._oldest()

    async def _oldest(self) -> None:
        self._settle(await self._receipts[0][0])

    def _settle(self, receipt: Receipt) -> None:
        _, size_bytes = self._receipts.popleft()
        self._bytes -= size_bytes
        self._summary.published += 1
        if self._summary.receipts is not msgspec.UNSET:
            self._summary.receipts.append(receipt)


def with_tenant(line: bytes, tenant: str) -> bytes:
    """The same event with a tenant, where it has none. What is no JSON object is left as it is, to be refused."""
    try:
        event = msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return line
    if not isinstance(event, dict) or "tenant" in event:
        return line
    return msgspec.json.encode({**event, "tenant": tenant})


async def _chunks(file: str) -> AsyncIterator[bytes]:
    """The file as it comes: a pipe that waits neither holds up receipts nor Ctrl-C."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(maxsize=2)

    def read() -> None:
        # Read by number, not through sys.stdin: its lock, held by this thread, would keep the process from ending.
        number = sys.stdin.fileno() if file == "-" else os.open(file, os.O_RDONLY)
        chunk: bytes | OSError = b""
        try:
            while not isinstance(chunk, OSError):
                try:
                    chunk = os.read(number, _CHUNK_BYTES)
                except OSError as error:
                    chunk = error
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
                if not chunk:
                    return
        finally:
            if file != "-":
                os.close(number)

    threading.Thread(target=read, name="publish-reader", daemon=True).start()
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise UsageError(f"cannot read {file}: {chunk.strerror}", next_step="give it another file")
        yield chunk


@contextmanager
def _progress(file: str) -> Iterator[Callable[[int], None]]:
    """A bar over the bytes read, on a terminal only."""
    console = progress_console()
    total = None if file == "-" else Path(file).stat().st_size or None
    bar = Progress(
        TextColumn("publishing"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console, transient=True
    )
    with bar if console.is_terminal and file != "-" else nullcontext():
        task = bar.add_task("publishing", total=total)
        yield lambda size_bytes: bar.advance(task, size_bytes)
