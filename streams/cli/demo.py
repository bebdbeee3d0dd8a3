"""`memstream demo`: the way of some conversations into memory, watched live, on a stack of its own."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import asyncio
import shutil
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from typing import Self

import click
import msgspec
from rich.console import Console
from rich.live import Live

from infra.native.paths import home_folder
from infra.native.progress import on_stderr
from infra.native.stack import Stack
from schemas.conversation import Turn
from schemas.ids import UserKey
from schemas.memory import MemoryChange
from streams.caches.redis_versions import create_version_cache
from streams.cli.changes import change_line
from streams.cli.child_worker import ChildWorker, only_one, terminated_like_interrupted, uninterrupted
from streams.cli.context import fail, json_option, print_json, reports_errors, run, stack_settings
from streams.cli.display import progress_console, result_console
from streams.cli.publish import create_topics
from streams.cli.search import results_table
from streams.cli.status import status_view
from streams.clients.changes import MemoryChanges
from streams.clients.publisher import ConversationPublisher
from streams.clients.reader import MemoryReader, SearchResult
from streams.clients.status import Status, status_reader
from streams.clock import SystemClock
from streams.errors import MemstreamError, TransientError
from streams.settings import Settings
from topology import keys

_LIMIT_S = 120.0
"""Everything must have passed by then; usually it takes a tenth of it."""
_POLL_S = 0.3
_LINES_EVERY_S = 2.0
_NEWEST = 5
_LAST_LINES = 15

_TENANT = "demo"
_MARIA = UserKey(_TENANT, "maria")
_SEARCHES = ((_MARIA, "What is Maria allergic to?"), (UserKey(_TENANT, "wangfang"), "王芳养了什么宠物？"))
_ONE_MORE = Turn(
    tenant=_MARIA.tenant,
    user_id=_MARIA.user_id,
    conversation_id="maria-piano",
    event_id="maria-piano-01",
    role="user",
    name="Maria",
    content="I started taking piano lessons on Monday evenings.",
)


class DemoError(MemstreamError):
    """The demo did not come to its end."""


class Searched(msgspec.Struct, frozen=True):
    """A search and what it found."""

    user_id: str
    query: str
    results: list[SearchResult]


class Invalidated(msgspec.Struct, frozen=True):
    """A user's version in the cache, before and after one more turn."""

    key: str
    before: int
    after: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo saw.

    Attributes:
        published: events of the sample.
        settled: stage to the records it settled.
        changes: memory changes that arrived.
        newest_changes: the last ones of one user.
        searches: one in English, one in Chinese.
        invalidation: what one more turn did to the cache.
        duration_s: from the first event to the end, without starting the stack.
        home: the stack's folder, where it was kept.
    """

    published: int
    settled: dict[str, int]
    changes: int
    newest_changes: list[MemoryChange]
    searches: list[Searched]
    invalidation: Invalidated
    duration_s: float
    home: str | None


@click.command()
@click.option("--keep", is_flag=True, help="Leave the stack up and its data there, to look around.")
@json_option
@reports_errors
def demo(*, keep: bool, as_json: bool) -> None:
    """Watch conversations in English and Chinese become memories, and search them. Needs nothing and leaves nothing.

    Starts Kafka, Redis and SQLite in a folder of its own, beside and apart from any stack of yours; publishes the
    bundled conversations; shows every change as it happens; searches; and shows how one more turn invalidates the
    cache. Then everything is stopped and wiped.

    \b
    Example:
        memstream demo

    \b
    Exit codes: 0 all was seen to work; 1 failed, the worker's last log lines are shown; 130 interrupted.
    """
    console = progress_console() if as_json else result_console()
    home = home_folder() / "demo"
    another = DemoError("another demo runs with the same MEMSTREAM_HOME: wait for it, or set another")
    with only_one(home.with_suffix(".lock"), otherwise=another), terminated_like_interrupted():
        stack = Stack("light", home=home)
        worker: ChildWorker | None = None
        kept = False
        try:
            stack.down(wipe=True)  # what a killed demo left behind
            settings = stack_settings(Settings(), stack.up(on_stderr()))
            create_topics(settings)
            worker = ChildWorker(settings, log=home / "worker.log")
            summary = run(_show(settings, worker, console, home=str(home) if keep else None))
            kept = keep
        except MemstreamError as error:
            for line in worker.last_lines(_LAST_LINES) if worker is not None else ():
                click.echo(f"  {line}", err=True)
            fail(f"the demo failed: {error}", next_step="try again; on a busy machine things take longer")
        finally:
            with uninterrupted():
                if worker is not None:
                    worker.stop()
                if not kept:
                    stack.down(wipe=True)
                    shutil.rmtree(home, ignore_errors=True)
    if as_json:
        print_json(summary)
    elif kept:
        console.print(f"\nThe stack is still up. Look around:  export MEMSTREAM_HOME={home}", soft_wrap=True)
        console.print("When done:  memstream stack down --wipe")


async def _show(settings: Settings, worker: ChildWorker, console: Console, *, home: str | None) -> Summary:
    began_s = time.monotonic()
    _say(console, "1. Publish conversations of four people, in English and Chinese")
    published = await _publish_sample(settings)
    console.print(f"   {published} events are in the log; no worker runs yet")

    _say(console, "2. Start a worker: six stages; every memory change as it is announced")
    worker.start()
    with _StatusDisplay(console) as display:

        async def follow() -> None:
            async for placed in MemoryChanges(settings, follow=True):
                display.line(placed.change)

        following = asyncio.create_task(follow())
        try:
            status = await _until_settled(settings, worker, published, display.show)
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
    console.print(status_view(status))

    _say(console, "3. Search, in any language")
    searches = await _searches(settings, console)

    _say(console, f"4. The newest changes of {_MARIA.user_id}")
    count, newest = await _all_changes(settings)
    for change in newest:
        console.print(change_line(change), soft_wrap=True)

    _say(console, "5. One more turn makes what was cached about her out of date")
    invalidation = await _invalidate(settings, worker)
    console.print(f"   Redis {invalidation.key}", soft_wrap=True, highlight=False)
    console.print(f"   version before {invalidation.before}, after {invalidation.after}")

    duration_s = round(time.monotonic() - began_s, 1)
    _say(console, f"Done in {duration_s} s")
    return Summary(
        published=published,
        settled={stage.stage: stage.settled for stage in status.stages},
        changes=count,
        newest_changes=newest,
        searches=searches,
        invalidation=invalidation,
        duration_s=duration_s,
        home=home,
    )


async def _publish_sample(settings: Settings) -> int:
    lines = files("streams.clients").joinpath("sample.jsonl").read_bytes().splitlines()
    async with ConversationPublisher(settings, source="memstream/demo") as publisher:
        return len(await publisher.publish_many(line for line in lines if line.strip()))


async def _until_settled(
    settings: Settings, worker: ChildWorker, published: int, show: Callable[[Status], None]
) -> Status:
    """Wait until every event has passed all stages, facts included."""
    reader = status_reader(settings, SystemClock())
    ends_at_s = time.monotonic() + _LIMIT_S
    while True:
        _check(worker, ends_at_s)
        with suppress(TransientError):  # a broker that has just started does not know all its groups yet
            status = await asyncio.to_thread(reader.read)
            show(status)
            begun = all(stage.started for stage in status.stages) and status.stages[0].settled >= published
            if begun and status.caught_up and status.windows.open == 0:
                return status
        await asyncio.sleep(_POLL_S)


def _check(worker: ChildWorker, ends_at_s: float) -> None:
    if worker.exit_code is not None:
        raise DemoError(f"the worker ended with exit code {worker.exit_code}")
    if time.monotonic() > ends_at_s:
        raise DemoError(f"not everything had passed after {_LIMIT_S:.0f} s")


async def _all_changes(settings: Settings) -> tuple[int, list[MemoryChange]]:
    """How many changes there are, and the newest of one user."""
    count = 0
    newest: deque[MemoryChange] = deque(maxlen=_NEWEST)
    async for placed in MemoryChanges(settings, follow=False):
        count += 1
        if placed.change.user == _MARIA:
            newest.append(placed.change)
    return count, list(newest)


async def _searches(settings: Settings, console: Console) -> list[Searched]:
    searches = []
    async with MemoryReader(settings) as reader:
        for user, query in _SEARCHES:
            results = await reader.search(user.user_id, query, tenant=user.tenant, limit=3)
            if not results:
                raise DemoError(f"searching {user.user_id} for {query!r} found nothing")
            console.print(f"   memstream search {user.user_id} '{query}' --tenant {user.tenant}", highlight=False)
            console.print(results_table(results))
            searches.append(Searched(user.user_id, query, results))
    return searches


async def _invalidate(settings: Settings, worker: ChildWorker) -> Invalidated:
    """Publish one more turn and wait until the user's version has risen."""
    cache = create_version_cache(settings)
    await cache.open()
    try:
        before = (await cache.versions([_MARIA])).get(_MARIA, 0)
        async with ConversationPublisher(settings, source="memstream/demo") as publisher:
            await publisher.publish(_ONE_MORE)
        ends_at_s = time.monotonic() + _LIMIT_S
        while (after := (await cache.versions([_MARIA])).get(_MARIA, 0)) <= before:
            _check(worker, ends_at_s)
            await asyncio.sleep(_POLL_S / 3)
    finally:
        await cache.close()
    key = keys.cache_version_key(_MARIA, namespace=settings.kafka.namespace, generation=settings.worker.generation)
    return Invalidated(key, before, after)


class _StatusDisplay:
    """The flow while it runs: on a terminal a table below the changes, elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._next_line_s = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def line(self, change: MemoryChange) -> None:
        """Show a change."""
        self._console.print(change_line(change), soft_wrap=True)

    def show(self, status: Status) -> None:
        """Show how far the stages are."""
        if self._live is not None:
            self._live.update(status_view(status), refresh=True)
        elif time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + _LINES_EVERY_S
            settled = ", ".join(f"{stage.stage} {stage.settled}" for stage in status.stages)
            self._console.print(f"   settled: {settled}", highlight=False)


def _say(console: Console, title: str) -> None:
    console.print()
    console.print(title, style="bold", highlight=False)
