"""The light store: one SQLite file, no server. Lexical leg by FTS5, vector leg exact, by NumPy.

Several processes may open the file: WAL lets readers go on while one writes, and writers wait for each other. Within a
process every call runs on one thread of its own, so that the event loop never waits for a disk.
"""

import asyncio
import errno
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.ids import UserKey
from schemas.memory import Head, Memory
from streams.errors import BugError, MemstreamError, NothingThereError, RefusedError, TransientError
from streams.stores import sqlite_statements as statements
from streams.stores.protocol import Legs, StoreRow
from streams.stores.rows import check_vector, newest_heads, newest_rows
from streams.stores.sqlite_layout import BUILD_AGAIN, connect, prepare, read_meta

T = TypeVar("T")

PURGE_DELAY_S = 30.0
"""Erasures within this time share one purge, which costs 0.2 s with 100,000 memories."""

_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
    }
)
"""Primary result codes that may be gone at the next try: another process writes, the disk is full or failing."""


class SqliteStore:
    """One generation of memories and heads in one SQLite file.

    Guarantees: a write is on disk when it returns; an `upsert` is all or nothing; an older revision never replaces a
    newer one, whoever writes it. A call that runs into its timeout while it waits its turn does nothing; one that is
    already running may still take effect, which is harmless since all calls may be repeated.

    Erased content is overwritten in the tables at once. FTS5 keeps the terms of erased memories in its index, out of
    reach of any query, until segments merge: a purge does that within `PURGE_DELAY_S` or when the store is closed, and
    a process that dies before leaves it to the next one that opens the file.

    Args:
        path: the file.
        dimensions: length of every vector.
        generation: which derived view; a file holds one.
        timeout: of one call.
        creates: whether opening makes the file, and its folders, where they are not there. Whoever does not is a
            reader: it goes on with whatever file is there now, while a writer, which counts on what it wrote, is
            refused one that took the place of its own.
    """

    refuses_older_revisions: ClassVar[bool] = True

    def __init__(
        self, path: Path, *, dimensions: int, generation: int, timeout: timedelta, creates: bool = True
    ) -> None:
        self.path = path
        self.dimensions = dimensions
        self.generation = generation
        self._timeout_s = timeout.total_seconds()
        self._creates = creates
        self._opened: tuple[int, int] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._purge: asyncio.TimerHandle | None = None
        self._purging: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """See `Store.open`."""
        if self._thread is not None:
            return
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-store")
        try:
            if await self._on_thread(self._connect):
                self._schedule_purge()
        except BaseException:
            self._thread.shutdown(wait=False)
            self._thread = None
            raise

    async def close(self) -> None:
        """See `Store.close`."""
        if self._thread is None:
            return
        if self._purge is not None:
            self._purge.cancel()
        if self._purging is not None:
            self._purging.cancel()  # disconnecting purges
        try:
            await self._on_thread(self._disconnect)
        finally:
            self._thread.shutdown(wait=False)
            self._thread = self._connection = self._purge = self._purging = None

    async def upsert(self, rows: Sequence[StoreRow], *, heads: Sequence[Head] = ()) -> None:
        """See `Store.upsert`. Heads and memories are written together, or not at all."""
        newest, new_heads = newest_rows(rows, dimensions=self.dimensions), newest_heads(heads)
        if newest or new_heads:
            await self._run(lambda connection: statements.upsert(connection, newest, new_heads))

    async def rewrite(self, rows: Sequence[StoreRow], *, heads: Sequence[Head] = ()) -> None:
        """See `Store.rewrite`. One transaction writes a memory and what finds it, so there is nothing more to do."""
        await self.upsert(rows, heads=heads)

    async def delete(self, user: UserKey, memory_ids: Sequence[str]) -> None:
        """See `Store.delete`."""
        if await self._run(lambda connection: statements.delete(connection, user, memory_ids)):
            self._schedule_purge()

    async def heads(self, users: Sequence[UserKey]) -> dict[UserKey, Head]:
        """See `Store.heads`."""
        return await self._run(lambda connection: statements.heads(connection, users))

    async def memories(self, user: UserKey) -> list[Memory]:
        """See `Store.memories`."""
        return await self._run(lambda connection: statements.memories(connection, user))

    async def get(self, user: UserKey, memory_ids: Sequence[str]) -> list[Memory]:
        """See `Store.get`."""
        return await self._run(lambda connection: statements.get(connection, user, memory_ids))

    async def search(self, user: UserKey, *, tokens: Sequence[str], vector: NDArray[np.float32], limit: int) -> Legs:
        """See `Store.search`. BM25 counts within the user's memories alone."""
        check_vector(vector, dimensions=self.dimensions)
        return await self._run(
            lambda connection: statements.search(connection, user, tokens=tokens, vector=vector, limit=limit)
        )

    async def count(self) -> int:
        """See `Store.count`."""
        return await self._run(statements.count)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            raise BugError(f"the store {self.path} is not open")
        return await self._on_thread(lambda: work(self._current()))

    async def _on_thread(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError:
            raise TransientError(f"the store {self.path} took longer than {self._timeout_s:g} s") from None
        except (sqlite3.Error, OSError) as error:
            raise _translated(error, self.path) from error

    def _current(self) -> sqlite3.Connection:
        """The connection to the file that stands at the path: SQLite would go on in one that was deleted."""
        if _identity(self.path) != self._opened:
            if self._creates:
                raise RefusedError(
                    f"the store {self.path} was deleted or replaced under this process: start the worker again, and "
                    "index builds what the file lacks from the log"
                )
            before = self._connection
            self._connect()
            if before is not None:
                before.close()
        assert self._connection is not None
        return self._connection

    def _connect(self) -> bool:
        if not self._creates and not self.path.exists():
            raise NothingThereError(
                f"there is no store at {self.path} yet",
                next_step="start a worker (`memstream dev`, or `memstream worker`): it makes the store from the log",
            )
        # SQLite gives up waiting for a lock before the call's timeout, so that its own reason is what is reported.
        connection = connect(self.path, busy_timeout_s=self._timeout_s * 0.8)
        try:
            prepare(connection, dimensions=self.dimensions, generation=self.generation)
            purge_due = bool(read_meta(connection, "purge_due"))
        except BaseException:
            connection.close()
            raise
        self._connection, self._opened = connection, _identity(self.path)
        return purge_due

    def _disconnect(self) -> None:
        if self._connection is not None:
            try:
                statements.purge(self._connection)
            finally:
                self._connection.close()

    def _schedule_purge(self) -> None:
        if self._purge is None:
            self._purge = asyncio.get_running_loop().call_later(PURGE_DELAY_S, self._start_purge)

    def _start_purge(self) -> None:
        self._purge = None
        self._purging = asyncio.ensure_future(self._purge_now())

    async def _purge_now(self) -> None:
        try:
            await self._run(statements.purge)
        except TransientError:
            self._schedule_purge()
        except (RefusedError, NothingThereError):
            pass  # the file has gone, and with it what was erased; the next call says so


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands there, if any; one that is open keeps its number, also when it is deleted."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _translated(error: sqlite3.Error | OSError, path: Path) -> MemstreamError:
    """What an error of SQLite means for whoever called."""
    if isinstance(error, OSError):
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            return RefusedError(
                f"the folder of {path} cannot be used ({error}): choose another path or mend its rights"
            )
        return TransientError(f"the store {path} cannot be reached: {error}")
    primary_code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest is detail
    if primary_code in _PASSING:
        return TransientError(f"the store {path} is busy or its disk is failing: {error}")
    if primary_code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return RefusedError(f"{path} is damaged or no SQLite file ({error}): {BUILD_AGAIN}")
    if "fts5" in str(error) or "json" in str(error):
        return RefusedError(f"this Python's SQLite lacks FTS5 or JSON ({error}): use one that has both, or Weaviate")
    return RefusedError(f"the store {path} refuses: {error}; if this stays, {BUILD_AGAIN}")
