"""What the SQLite store does with its tables: one function a call, each one transaction."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.codec import HEADS, Codec
from schemas.ids import UserKey
from schemas.memory import Head, Memory
from streams.errors import RefusedError
from streams.stores.protocol import Hit, Legs, StoreRow
from streams.stores.rows import decode_memory, in_order
from streams.stores.sqlite_layout import read_meta, transaction, user_number
from streams.stores.sqlite_search import legs, vector_bytes, words_of

MEMORIES: Codec[Memory] = Codec(Memory, "msgpack")

_FIELDS = [f"json_extract(value, '$[{place}]')" for place in range(10)]
"""Of one row of a JSON text, not with `->>`, which SQLite has since 3.38 only."""

_ARRIVE = f"INSERT INTO arriving SELECT {', '.join(_FIELDS)} FROM json_each(?)"
_UPSERT_MEMORIES = """
INSERT INTO memories (user_no, memory_id, revision, terms, record, vector)
SELECT
    user_no, memory_id, revision, terms, substr(?1, record_at, record_bytes), substr(?1, vector_at, vector_bytes)
FROM arriving WHERE true
ON CONFLICT (user_no, memory_id) DO UPDATE SET
    revision = excluded.revision, terms = excluded.terms, record = excluded.record, vector = excluded.vector
WHERE excluded.revision >= revision
"""
_INDEX_WORDS = """
INSERT OR REPLACE INTO words (rowid, terms)
SELECT memory_no, CAST(substr(?, words_at, words_bytes) AS TEXT)
FROM arriving CROSS JOIN memories USING (user_no, memory_id)
WHERE arriving.revision = memories.revision ORDER BY memory_no
"""
_UPSERT_HEADS = f"""
INSERT INTO users (tenant, user_id, head_revision, head)
SELECT {_FIELDS[0]}, {_FIELDS[1]}, {_FIELDS[2]}, substr(?2, {_FIELDS[3]}, {_FIELDS[4]}) FROM json_each(?1) WHERE true
ON CONFLICT (tenant, user_id) DO UPDATE SET head_revision = excluded.head_revision, head = excluded.head
WHERE head_revision IS NULL OR excluded.head_revision >= head_revision
"""
_NEW_USERS = f"INSERT OR IGNORE INTO users (tenant, user_id) SELECT {_FIELDS[0]}, {_FIELDS[1]} FROM json_each(?)"
_USER_NUMBERS = f"""
SELECT json_group_array(user_no) FROM (
    SELECT user_no FROM json_each(?) AS asked
    CROSS JOIN users ON tenant = {_FIELDS[0]} AND user_id = {_FIELDS[1]} ORDER BY asked.key
)
"""
"""As one value: each row of an answer costs what a statement costs."""


def upsert(
    connection: sqlite3.Connection,
    newest: Mapping[UserKey, Mapping[str, StoreRow]],
    heads: Mapping[UserKey, Head],
) -> None:
    """Write memories, what they are found by, and heads; what is newer in the store stays as it is.

    As many statements for a thousand rows as for one. With statements of its own each row lets go of the interpreter
    half a dozen times, and waits for up to 5 ms to get it back while the event loop is busy: beside a loop that is busy
    for nine tenths of the time 1,200 rows took 210 ms, and take 90 ms so; beside an idle one 35 ms either way.
    """
    with transaction(connection, "IMMEDIATE"):
        if newest:
            _upsert_memories(connection, newest)
        if heads:
            _put_heads(connection, heads)


def _upsert_memories(connection: sqlite3.Connection, newest: Mapping[UserKey, Mapping[str, StoreRow]]) -> None:
    # 1. The rows as one JSON text, the bytes that they point to as one blob.
    rows, joined = _packed(newest, _user_numbers(connection, list(newest)))
    connection.execute(_ARRIVE, (rows,))
    # 2. The memories. Those that are written now have the revision that arrived.
    connection.execute(_UPSERT_MEMORIES, (joined,))
    # 3. Their words, in the order of the memories' numbers: FTS5 writes a segment whenever a number goes back, as those
    #    of memories that were there before would do.
    connection.execute(_INDEX_WORDS, (joined,))
    connection.execute("DELETE FROM arriving")


def _put_heads(connection: sqlite3.Connection, newest: Mapping[UserKey, Head]) -> None:
    _refuse_nul(newest)
    blob = _Blob()
    rows = [(*user, head.revision, *blob.add(HEADS.encode(head))) for user, head in newest.items()]
    connection.execute(_UPSERT_HEADS, (msgspec.json.encode(rows).decode(), blob.joined()))


class _Blob:
    """Bytes that rows of a JSON text point to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._end = 1

    def add(self, part: bytes) -> tuple[int, int]:
        """Where it stands, counted from 1 as `substr` does, and how long it is."""
        at = self._end
        self._parts.append(part)
        self._end += len(part)
        return at, len(part)

    def joined(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


def _packed(newest: Mapping[UserKey, Mapping[str, StoreRow]], user_numbers: Sequence[int]) -> tuple[str, bytes]:
    """Rows for `arriving`, and the bytes that they point to."""
    rows: list[tuple[str | int, ...]] = []
    blob = _Blob()
    for user_no, memories in zip(user_numbers, newest.values(), strict=True):
        for row in memories.values():
            memory, words = row.memory, words_of(user_no, row.tokens)
            rows.append(
                (
                    user_no,
                    memory.memory_id,
                    memory.revision,
                    *blob.add(MEMORIES.encode(memory)),
                    len(words),
                    *blob.add(vector_bytes(row.vector)),
                    *blob.add(" ".join(words).encode()),
                )
            )
    return msgspec.json.encode(rows).decode(), blob.joined()


def _user_numbers(connection: sqlite3.Connection, users: Sequence[UserKey]) -> list[int]:
    """The numbers of some users, in their order; new ones get one."""
    _refuse_nul(users)
    names = (msgspec.json.encode(users).decode(),)
    numbers = _known_numbers(connection, names)
    if len(numbers) < len(users):  # new ones: rare
        connection.execute(_NEW_USERS, names)
        numbers = _known_numbers(connection, names)
    return numbers


def _refuse_nul(users: Iterable[UserKey]) -> None:
    """SQLite's JSON ends a text at a NUL: the user would be taken for another one.

    Raises:
        RefusedError: a name holds one.
    """
    if any("\x00" in name for user in users for name in user):
        raise RefusedError("a user has a NUL in tenant or id: no valid event has one, so the log was damaged")


def _known_numbers(connection: sqlite3.Connection, names: tuple[str]) -> list[int]:
    (numbers,) = connection.execute(_USER_NUMBERS, names).fetchone()
    return msgspec.json.decode(numbers, type=list[int])


def delete(connection: sqlite3.Connection, user: UserKey, memory_ids: Sequence[str]) -> bool:
    """Erase memories; whether there was anything to erase."""
    with transaction(connection, "IMMEDIATE"):
        numbers = [(memory_no,) for memory_no in _numbers(connection, user, memory_ids).values()]
        connection.executemany("DELETE FROM memories WHERE memory_no = ?", numbers)
        connection.executemany("DELETE FROM words WHERE rowid = ?", numbers)
        if numbers:
            connection.execute("UPDATE meta SET value = 1 WHERE name = 'purge_due'")
        return bool(numbers)


def purge(connection: sqlite3.Connection) -> None:
    """Rewrite the lexical index without what was erased, and let go of the old pages."""
    if not read_meta(connection, "purge_due"):
        return
    with transaction(connection, "IMMEDIATE"):
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        connection.execute("UPDATE meta SET value = 0 WHERE name = 'purge_due'")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # as far as readers in other processes let it


def heads(connection: sqlite3.Connection, users: Sequence[UserKey]) -> dict[UserKey, Head]:
    """Heads of those of the users who have one."""
    found = {}
    for user in users:
        row = connection.execute(
            "SELECT head FROM users WHERE tenant = ? AND user_id = ? AND head IS NOT NULL", user
        ).fetchone()
        if row is not None:
            found[user] = HEADS.decode(row[0])
    return found


def memories(connection: sqlite3.Connection, user: UserKey) -> list[Memory]:
    """Every memory of a user, in revision order."""
    user_no = user_number(connection, user)
    if user_no is None:
        return []
    records = connection.execute("SELECT record FROM memories WHERE user_no = ? ORDER BY revision", (user_no,))
    return [decode_memory(MEMORIES, record) for (record,) in records]


def get(connection: sqlite3.Connection, user: UserKey, memory_ids: Sequence[str]) -> list[Memory]:
    """Those of the memories that are there, in the order asked for."""
    with transaction(connection, "DEFERRED"):
        numbers = _numbers(connection, user, memory_ids)
        found = {memory_id: _memory(connection, number) for memory_id, number in numbers.items()}
    return in_order(found, memory_ids)


def search(
    connection: sqlite3.Connection,
    user: UserKey,
    *,
    tokens: Sequence[str],
    vector: NDArray[np.float32],
    limit: int,
) -> Legs:
    """Both legs, from one state of the store."""
    with transaction(connection, "DEFERRED"):
        user_no = user_number(connection, user)
        if user_no is None:
            return Legs(lexical=[], vector=[])
        lexical, nearest = legs(connection, user_no, tokens=tokens, vector=vector, limit=limit)
        found = {number: _memory(connection, number) for number, _ in {*lexical, *nearest}}
    return Legs(
        lexical=[Hit(memory=found[number], score=score) for number, score in lexical],
        vector=[Hit(memory=found[number], score=score) for number, score in nearest],
    )


def count(connection: sqlite3.Connection) -> int:
    """How many memories of all users there are."""
    return int(connection.execute("SELECT count(*) FROM memories").fetchone()[0])


def _memory(connection: sqlite3.Connection, memory_no: int) -> Memory:
    (record,) = connection.execute("SELECT record FROM memories WHERE memory_no = ?", (memory_no,)).fetchone()
    return decode_memory(MEMORIES, record)


def _numbers(connection: sqlite3.Connection, user: UserKey, memory_ids: Sequence[str]) -> dict[str, int]:
    """Numbers of those of the user's memories that are there, by id."""
    user_no = user_number(connection, user)
    numbers = {}
    for memory_id in dict.fromkeys(memory_ids):
        row = connection.execute(
            "SELECT memory_no FROM memories WHERE user_no = ? AND memory_id = ?", (user_no, memory_id)
        ).fetchone()
        if row is not None:
            numbers[memory_id] = int(row[0])
    return numbers
