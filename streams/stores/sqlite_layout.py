"""The SQLite file: its tables, its schema version, and how a process gets a connection to it.

```
users      one row a user: a number, and the head
memories   one row a memory, by arrival: the record whole, as MessagePack; how many terms; the vector (float16)
words      FTS5: the terms of each memory, each behind its user's number
postings   FTS5's own view of `words`: (term, memory) pairs
arriving   the rows of one write, in the memory of its connection
```

A search reads its user only. Every term in `words` starts with the user's number, so a query touches no posting of
anybody else, and how often a term occurs in a user's memories is the number of its postings. So BM25 is computed from
the user's own statistics, exactly, in `sqlite_search`. FTS5's own `bm25()` counts over all users: a score would depend
on, and tell of, what strangers said. Measured with 100,000 memories of 1,000 users, 25 tokens each, 6 in the query
(2 cores; ratios carry over, absolutes do not):

| lexical index | writes/s | query p50 |
| --- | --- | --- |
| FTS5, terms behind the user's number (this) | 51,000 | 0.13 ms |
| FTS5, plain terms, rowid range, `bm25()` over all users | 40,000 | 0.31 ms |
| a posting table of our own (B-tree) | 10,000 | 0.02 ms |

And rows 48,000 to 60,000 of 1,000 users, records and vectors included, 600 a write:

| tables | a row written, processor / all | reading a user's 60 vectors |
| --- | --- | --- |
| vectors of a user side by side, in a table of their own | 59-66 / 71-81 us | 0.06 ms |
| all by arrival (this) | 31 / 35 us | 0.13 ms |

Side by side every write changes a page for each of its users, and each page is written twice: to the log, and when the
log is copied. That grows with the file. A write is paid for every memory, a read for a search that no cache knew.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from schemas.ids import UserKey
from streams.errors import RefusedError

SCHEMA_VERSION = 2
"""Raised with every change of the tables below; kept in the file's `user_version`."""

PAGE_BYTES = 8192
"""Twice the default, so that a memory with a vector of up to 3,000 dimensions fits in one page of the B-tree."""

CHECKPOINT_PAGES = 4_000
"""The log is copied into the tables at 32 MB: pages that many batches touched are copied once."""

BUILD_AGAIN = "stop its workers and delete the file, and index builds it again from the log"
"""What helps against a file that cannot be used as it is: everything in it comes from the log."""

_TABLES = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE users (
    user_no INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    head_revision INTEGER,
    head BLOB,
    UNIQUE (tenant, user_id)
);
CREATE TABLE memories (
    memory_no INTEGER PRIMARY KEY,
    user_no INTEGER NOT NULL,
    memory_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    terms INTEGER NOT NULL,
    record BLOB NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE (user_no, memory_id)
);
CREATE VIRTUAL TABLE words USING fts5(terms, columnsize=0, tokenize="ascii tokenchars '~'");
CREATE VIRTUAL TABLE postings USING fts5vocab(words, instance);
PRAGMA user_version = {SCHEMA_VERSION};
"""

_ARRIVING = """
CREATE TEMP TABLE arriving (
    user_no INTEGER,
    memory_id TEXT,
    revision INTEGER,
    record_at INTEGER,
    record_bytes INTEGER,
    terms INTEGER,
    vector_at INTEGER,
    vector_bytes INTEGER,
    words_at INTEGER,
    words_bytes INTEGER
)
"""
"""The rows of one write on their way into the tables, in the memory of one connection."""


def connect(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Open the file, and create it if need be.

    `synchronous=FULL` because the caller commits Kafka offsets right after a write returned: in WAL mode, `NORMAL` may
    lose the last commits to a power cut, and nothing would write them again. One fsync a micro-batch is cheap.
    `secure_delete` overwrites what is erased.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        with _alone_in(path.parent):
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA cache_size = -32000")  # KiB
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(_ARRIVING)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, for milliseconds: one process at a time turns a new file to WAL.

    SQLite does not wait for its own lock there: two that turn the same file would wait for each other, so one of them
    is refused at once, whatever the busy timeout (6 processes opening 150 new files: 8 refusals, none with this lock).
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def prepare(connection: sqlite3.Connection, *, dimensions: int, generation: int) -> None:
    """Create the tables in an empty file, or check those that are there.

    Raises:
        RefusedError: the file is of another schema version, vector length or generation.
    """
    with transaction(connection, "IMMEDIATE"):  # so that of two processes one creates and the other checks
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            for statement in _TABLES.strip().split(";\n"):
                connection.execute(statement)
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("dimensions", dimensions), ("generation", generation), ("purge_due", 0)],
            )
            return
        if version != SCHEMA_VERSION:
            (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
            raise RefusedError(
                f"the store {path} has schema version {version}, this code reads {SCHEMA_VERSION}: use the memstream "
                f"version that wrote it; or {BUILD_AGAIN}"
            )
        for name, expected in (("dimensions", dimensions), ("generation", generation)):
            found = read_meta(connection, name)
            if found != expected:
                raise RefusedError(
                    f"the store was made with {name} {found}, not {expected}: configure that; or {BUILD_AGAIN}"
                )


@contextmanager
def transaction(connection: sqlite3.Connection, mode: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
    """All or nothing; `DEFERRED` for several reads of one state, `IMMEDIATE` for writing."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def read_meta(connection: sqlite3.Connection, name: str) -> int:
    """A number the file keeps about itself."""
    (value,) = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return int(value)


def user_number(connection: sqlite3.Connection, user: UserKey) -> int | None:
    """The number of a user, if the store knows one."""
    row = connection.execute("SELECT user_no FROM users WHERE tenant = ? AND user_id = ?", user).fetchone()
    return None if row is None else int(row[0])
