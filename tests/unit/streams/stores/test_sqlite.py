"""What the SQLite store promises beyond every store's contract."""

import asyncio
import math
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import UserKey, derive
from schemas.memory import Head, Memory
from streams.errors import NothingThereError, RefusedError, TransientError
from streams.stores import sqlite_search
from streams.stores.protocol import StoreRow
from streams.stores.sqlite import SqliteStore

DIMENSIONS = 4
MARIA = UserKey("acme", "maria")
NOTHING = np.zeros(DIMENSIONS, dtype=np.float32)


def row(tokens: list[str], number: int = 1, user: UserKey = MARIA, text: str = "text") -> StoreRow:
    """A row of one user's memory."""
    at = datetime(2025, 3, 1, tzinfo=UTC)
    return StoreRow(
        memory=Memory(
            tenant=user.tenant,
            user_id=user.user_id,
            memory_id=derive("turn", *user, str(number)),
            kind="turn",
            text=text,
            revision=number,
            generation=1,
            conversation_id=None,
            role=None,
            name=None,
            slot=None,
            source_event_ids=[],
            occurred_at=at,
            valid_from=at,
            valid_to=None,
            recorded_at=at,
            retracted_at=None,
            superseded_by=None,
        ),
        tokens=tokens,
        vector=NOTHING,
    )


def new_store(path: Path, timeout: timedelta = timedelta(seconds=8), *, creates: bool = True) -> SqliteStore:
    """A store, not open."""
    return SqliteStore(path, dimensions=DIMENSIONS, generation=1, timeout=timeout, creates=creates)


def remove(path: Path) -> None:
    """Delete a store's file and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open, empty store."""
    opened = new_store(tmp_path / "memories.db")
    await opened.open()
    yield opened
    await opened.close()


async def scores(store: SqliteStore, user: UserKey, tokens: list[str]) -> dict[str, float]:
    """The lexical scores by memory id."""
    legs = await store.search(user, tokens=tokens, vector=NOTHING, limit=1_000)
    return {hit.memory.memory_id: hit.score for hit in legs.lexical}


def bm25(documents: list[list[str]], query: list[str]) -> dict[str, float]:
    """BM25 as the textbook has it, for the memories of Maria numbered from 0; those without a match are left out."""
    mean_length = max(sum(map(len, documents)) / len(documents), 1.0)
    found: dict[str, float] = {}
    for number, document in enumerate(documents):
        counts = Counter(document)
        for term in query:
            if not counts[term]:
                continue
            having = sum(term in other for other in documents)
            rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            saturation = counts[term] + 1.2 * (1 - 0.75 + 0.75 * len(document) / mean_length)
            memory_id = derive("turn", *MARIA, str(number))
            found[memory_id] = found.get(memory_id, 0.0) + rarity * counts[term] * 2.2 / saturation
    return found


words = st.lists(st.sampled_from(["a", "b", "c", "o'x", "東京"]), max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    documents=st.lists(words, min_size=1, max_size=8), query=words.filter(bool), strangers=st.lists(words, max_size=5)
)
async def test_lexical_scores_are_bm25_of_the_user_alone(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]], query: list[str], strangers: list[list[str]]
) -> None:
    """The lexical score is BM25 within the user's memories; what strangers said does not move it."""
    store = new_store(tmp_path_factory.mktemp("bm25") / "memories.db")
    await store.open()
    await store.upsert([row(tokens, number, UserKey("acme", "stranger")) for number, tokens in enumerate(strangers)])
    await store.upsert([row(tokens, number) for number, tokens in enumerate(documents)])

    assert await scores(store, MARIA, query) == pytest.approx(bm25(documents, query))

    await store.close()


async def test_erased_content_leaves_the_file(tmp_path: Path) -> None:
    """After an erasure and a close, neither text nor words of the memory are in the file or beside it."""
    path = tmp_path / "memories.db"
    store = new_store(path)
    await store.open()
    await store.upsert([row(["ordinary"], n) for n in range(200)])
    await store.upsert([row(["quicksilver"], 1_000, text="zanzibar")])
    await store.upsert([row(["ordinary"], n) for n in range(200, 400)])
    assert path_bytes(tmp_path).count(b"quicksilver") > 0

    await store.delete(MARIA, [row([], 1_000).memory.memory_id])
    await store.close()

    assert path_bytes(tmp_path).count(b"quicksilver") == 0
    assert path_bytes(tmp_path).count(b"zanzibar") == 0
    assert path_bytes(tmp_path).count(b"ordinary") > 0


async def test_purge_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge that a dying process left undone is done by the next one that opens the file, without being closed."""
    monkeypatch.setattr("streams.stores.sqlite.PURGE_DELAY_S", 0.05)
    path = tmp_path / "memories.db"
    store = new_store(path)
    await store.open()
    await store.upsert([row(["quicksilver"], 1)])
    await store.upsert([row(["ordinary"], 2)])
    await store.close()
    connection = sqlite3.connect(path)
    (rowid,) = connection.execute("SELECT rowid FROM words WHERE words MATCH '\"1~quicksilver\"'").fetchone()
    connection.execute("DELETE FROM words WHERE rowid = ?", (rowid,))
    connection.execute("UPDATE meta SET value = 1 WHERE name = 'purge_due'")
    connection.commit()
    connection.close()
    assert path_bytes(tmp_path).count(b"quicksilver") > 0

    await store.open()
    async with asyncio.timeout(10):
        while path_bytes(tmp_path).count(b"quicksilver") > 0:  # noqa: ASYNC110  a file gives no event
            await asyncio.sleep(0.05)
    await store.close()


def path_bytes(folder: Path) -> bytes:
    """Everything SQLite keeps in a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


async def test_upsert_is_all_or_nothing(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that fails midway has written nothing."""
    calls: list[Any] = []

    def failing(vector: Any) -> bytes:
        calls.append(vector)
        if len(calls) == 3:
            raise sqlite3.OperationalError("disk I/O error")
        return b""

    monkeypatch.setattr("streams.stores.sqlite_statements.vector_bytes", failing)
    with pytest.raises(RefusedError):
        await store.upsert([row(["a"], n) for n in range(5)])

    assert await store.count() == 0


async def test_a_name_with_nul_is_refused(store: SqliteStore) -> None:
    """No event can bring one, but if it were cut there, a user's memories would become another's."""
    with pytest.raises(RefusedError, match="NUL"):
        await store.upsert([row(["a"], 1, UserKey("acme", "maria\x00peter"))])
    with pytest.raises(RefusedError, match="NUL"):
        await store.upsert((), heads=[Head(tenant="acme", user_id="maria\x00", generation=1, revision=1)])

    assert await store.count() == 0


async def test_waiting_call_that_times_out_does_nothing(tmp_path: Path) -> None:
    """A call that runs into its timeout while it waits its turn has no effect, also later."""
    store = new_store(tmp_path / "memories.db", timeout=timedelta(milliseconds=100))
    await store.open()
    release = threading.Event()
    assert store._thread is not None
    busy = store._thread.submit(release.wait)

    with pytest.raises(TransientError, match="longer than"):
        await store.upsert([row(["a"])])
    release.set()
    busy.result()

    assert await store.count() == 0
    await store.close()


async def test_event_loop_is_not_blocked(store: SqliteStore) -> None:
    """While the file is locked by another process, the event loop goes on."""
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.ensure_future(store.upsert([row(["a"])]))

    for _ in range(5):
        await asyncio.sleep(0.01)
    assert not writing.done()
    other.execute("ROLLBACK")
    other.close()

    await writing
    assert await store.count() == 1


async def test_reader_goes_on_while_another_process_writes(store: SqliteStore) -> None:
    """A write in progress elsewhere does not hold up reads, and is not seen before its end."""
    await store.upsert([row(["a"], 1)])
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM memories")

    assert await store.count() == 1

    other.execute("COMMIT")
    other.close()
    assert await store.count() == 0


async def test_other_generation(store: SqliteStore) -> None:
    """A file of one generation is refused by another."""
    other = SqliteStore(store.path, dimensions=DIMENSIONS, generation=2, timeout=timedelta(seconds=8))

    with pytest.raises(RefusedError, match="generation 1"):
        await other.open()


async def test_new_files_opened_at_once(tmp_path: Path) -> None:
    """However often several openers meet at a new file, each of them gets it."""
    for attempt in range(60):  # without the folder's lock about one attempt in 20 is refused
        stores = [new_store(tmp_path / str(attempt) / "memories.db") for _ in range(6)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(store.close() for store in stores))


async def test_unusable_folder(tmp_path: Path) -> None:
    """A path under something that is no folder is refused."""
    (tmp_path / "file").write_text("")

    with pytest.raises(RefusedError, match="cannot be used"):
        await new_store(tmp_path / "file" / "memories.db").open()


def test_vectors_of_nothing_are_empty() -> None:
    """Zeros, and what half precision turns into zeros, are stored as no vector at all."""
    assert sqlite_search.vector_bytes(NOTHING) == b""
    assert sqlite_search.vector_bytes(NOTHING + 1e-12) == b""
    assert len(sqlite_search.vector_bytes(NOTHING + 0.5)) == 2 * DIMENSIONS


async def test_a_damaged_file_is_named_with_what_helps(tmp_path: Path) -> None:
    """What is no SQLite file is refused; the error says what to do, and nothing that does not exist."""
    path = tmp_path / "memories.db"
    path.write_bytes(b"x" * 8192)
    with pytest.raises(RefusedError, match=r"memories\.db is damaged.*delete the file, and index builds it again"):
        await new_store(path).open()


async def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    """Where no worker has made a store yet, a reader says so and what to do, and leaves nothing behind."""
    folder = tmp_path / "new"
    with pytest.raises(NothingThereError, match="no store") as caught:
        await new_store(folder / "memories.db", creates=False).open()

    assert "start a worker" in caught.value.next_step
    assert not await asyncio.to_thread(folder.exists)


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_a_writer_stops_when_its_file_is_another(store: SqliteStore, *, replaced: bool) -> None:
    """It would go on in a file that nobody sees any more; what to do is said."""
    await store.upsert([row(["a"])])
    remove(store.path)
    if replaced:
        other = new_store(store.path)
        await other.open()
        await other.close()

    for call in (store.upsert([row(["b"], 2)]), store.memories(MARIA), store.delete(MARIA, [])):
        with pytest.raises(RefusedError, match=r"deleted or replaced.*start the worker again"):
            await call


async def test_a_reader_goes_on_with_the_file_that_is_there_now(store: SqliteStore) -> None:
    """A store that was built again is read as it is; until it is there, the reader says that there is none."""
    await store.upsert([row(["a"])])
    reader = new_store(store.path, creates=False)
    await reader.open()
    assert len(await reader.memories(MARIA)) == 1

    remove(store.path)
    with pytest.raises(NothingThereError):
        await reader.memories(MARIA)
    again = new_store(store.path)
    await again.open()
    await again.upsert([row(["b"], 2), row(["c"], 3)])
    assert [memory.revision for memory in await reader.memories(MARIA)] == [2, 3]

    await reader.close()
    await store.close()
    await again.upsert([row(["d"], 4)])
    await again.close()
    last = new_store(store.path, creates=False)
    await last.open()
    assert [memory.revision for memory in await last.memories(MARIA)] == [2, 3, 4]
    await last.close()
