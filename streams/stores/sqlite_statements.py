"""What the SQLite store does with its tables: one function a call, each one transaction."""

import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.codec import HEADS, Codec
from schemas.ids import UserKey
from schemas.memory import Head, Memory
from streams.stores.protocol import Hit, Legs, StoreRow
from streams.stores.rows import decode_memory, in_order
from streams.stores.sqlite_layout import read_meta, transaction, user_number
from streams.stores.sqlite_search import legs, vector_bytes, words_of

MEMORIES: Codec[Memory] = Codec(Memory, "msgpack")


def upsert(connection: sqlite3.Connection, newest: Mapping[UserKey, Mapping[str, StoreRow]]) -> None:
    """Write memories and what they are found by; a memory with a newer revision in the store stays as it is."""
    with transaction(connection, "IMMEDIATE"):
        written: list[tuple[int, int, StoreRow]] = []
        for user, rows in newest.items():
            user_no = _ensure_user(connection, user)
            for row in rows.values():
                memory_no = _upsert_record(connection, user_no, row.memory)
                if memory_no is not None:
                    written.append((user_no, memory_no, row))
        _index(connection, written)


def _upsert_record(connection: sqlite3.Connection, user_no: int, memory: Memory) -> int | None:
    """The number of the memory that was written, or none where the store has a newer revision."""
    written = connection.execute(
        "INSERT INTO memories (user_no, memory_id, revision, record) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (user_no, memory_id) DO UPDATE SET revision = excluded.revision, record = excluded.record "
        "WHERE excluded.revision >= revision RETURNING memory_no",
        (user_no, memory.memory_id, memory.revision, MEMORIES.encode(memory)),
    ).fetchone()
    return None if written is None else int(written[0])


def _index(connection: sqlite3.Connection, written: Sequence[tuple[int, int, StoreRow]]) -> None:
    """Index memories, all words last: other statements in between would make FTS5 write a segment for each row.

    So would a row number that goes back, and memories that were there before stand among new ones: hence they are
    sorted (-20 % processor time of a write in which one in ten was there).
    """
    written = sorted(written, key=lambda row: row[1])
    words = [words_of(user_no, row.tokens) for user_no, _, row in written]
    connection.executemany(
        "INSERT OR REPLACE INTO index_entries VALUES (?, ?, ?, ?)",
        [
            (user_no, memory_no, len(terms), vector_bytes(row.vector))
            for (user_no, memory_no, row), terms in zip(written, words, strict=True)
        ],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO words (rowid, terms) VALUES (?, ?)",
        [(memory_no, " ".join(terms)) for (_, memory_no, _), terms in zip(written, words, strict=True)],
    )


def _ensure_user(connection: sqlite3.Connection, user: UserKey) -> int:
    user_no = user_number(connection, user)
    if user_no is None:  # a new one: rare
        connection.execute("INSERT INTO users (tenant, user_id) VALUES (?, ?)", user)
        user_no = user_number(connection, user)
        assert user_no is not None
    return user_no


def delete(connection: sqlite3.Connection, user: UserKey, memory_ids: Sequence[str]) -> bool:
    """Erase memories; whether there was anything to erase."""
    with transaction(connection, "IMMEDIATE"):
        user_no = user_number(connection, user)
        found = _numbers(connection, user, memory_ids)
        numbers = [(user_no, memory_no) for memory_no in found.values()]
        connection.executemany("DELETE FROM index_entries WHERE user_no = ? AND memory_no = ?", numbers)
        connection.executemany("DELETE FROM memories WHERE user_no = ? AND memory_no = ?", numbers)
        connection.executemany("DELETE FROM words WHERE rowid = ?", [(memory_no,) for _, memory_no in numbers])
        if found:
            connection.execute("UPDATE meta SET value = 1 WHERE name = 'purge_due'")
        return bool(found)


def purge(connection: sqlite3.Connection) -> None:
    """Rewrite the lexical index without what was erased, and let go of the old pages."""
    if not read_meta(connection, "purge_due"):
        return
    with transaction(connection, "IMMEDIATE"):
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        connection.execute("UPDATE meta SET value = 0 WHERE name = 'purge_due'")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # as far as readers in other processes let it


def put_heads(connection: sqlite3.Connection, newest: Mapping[UserKey, Head]) -> None:
    """Write heads; a newer one in the store stays as it is."""
    with transaction(connection, "IMMEDIATE"):
        connection.executemany(
            "INSERT INTO users (tenant, user_id, head_revision, head) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (tenant, user_id) DO UPDATE SET head_revision = excluded.head_revision, head = excluded.head "
            "WHERE head_revision IS NULL OR excluded.head_revision >= head_revision",
            [(*user, head.revision, HEADS.encode(head)) for user, head in newest.items()],
        )


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
