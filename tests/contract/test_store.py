"""What every store promises, held to every implementation, a real Weaviate included.

Longer than 400 lines because one suite in one place holds all of them to the same promises.
"""

import asyncio
import secrets
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.ids import UserKey, derive
from schemas.memory import Fence, Head, Memory
from streams.errors import BugError, RefusedError, TransientError
from streams.settings import Settings
from streams.stores import sqlite_layout, weaviate_layout
from streams.stores.factory import create_store, sqlite_file
from streams.stores.protocol import Store, StoreRow
from topology.keys import alias_name, bucket_of, collection_name

DIMENSIONS = 8
NOTHING: NDArray[np.float32] = np.zeros(DIMENSIONS, dtype=np.float32)
MARIA = UserKey("acme", "maria")

LOOK_ALIKES = [
    UserKey("acme", "a"),
    UserKey("acme", "A"),
    UserKey("acme", "a/b"),
    UserKey("acme", " a"),
    UserKey("acme", "a "),
    UserKey("acme", "a a"),
    UserKey("acme", '"a"'),
    UserKey("acme", "a*"),
    UserKey("acme", "a'--"),
    UserKey("acme", "\t"),
    UserKey("acme", "ä"),
    UserKey("acme", "a\u0308"),
    UserKey("acme", "用户"),
    UserKey("acme", "x" * 300),
    UserKey("acme", "x" * 299 + "y"),
    UserKey("acme ", "a"),
    UserKey("other", "a"),
    UserKey("other", "a/b"),
]


def unit(*values: float) -> NDArray[np.float32]:
    """A unit vector that starts with these values."""
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def memory(user: UserKey = MARIA, number: int = 1, **fields: Any) -> Memory:
    """A memory; numbers tell memories of one user apart."""
    at = datetime(2025, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
    values: dict[str, Any] = {
        "tenant": user.tenant,
        "user_id": user.user_id,
        "memory_id": derive("turn", *user, str(number)),
        "kind": "turn",
        "text": f"memory {number}",
        "revision": number,
        "generation": 1,
        "conversation_id": "c1",
        "role": "user",
        "name": None,
        "slot": None,
        "source_event_ids": [f"e{number}"],
        "occurred_at": at,
        "valid_from": at,
        "valid_to": None,
        "recorded_at": at,
        "retracted_at": None,
        "superseded_by": None,
    }
    return Memory(**values | fields)


def row(written: Memory, tokens: str = "word", vector: NDArray[np.float32] | None = None) -> StoreRow:
    """A row; tokens are given as a text with spaces between them."""
    return StoreRow(memory=written, tokens=tokens.split(" "), vector=unit(1) if vector is None else vector)


@pytest.fixture(params=["sqlite", "weaviate"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of one implementation, with a namespace that no other test has."""
    namespace = f"t{secrets.token_hex(6)}"
    chosen = Settings().replace("kafka", namespace=namespace, partitions=1)
    if request.param == "sqlite":
        return chosen.replace("store", kind="sqlite", path=str(tmp_path / "new" / "memories.db"))
    running = request.getfixturevalue("weaviate_settings")
    return chosen.replace("store", kind="weaviate", http=running.http, grpc=running.grpc, api_key=running.api_key)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """An open, empty store; what it left in a server is removed."""
    opened = create_store(settings, dimensions=DIMENSIONS)
    await opened.open()
    yield opened
    await opened.close()
    if settings.store.kind == "weaviate":
        await _remove_collections(settings)


async def _remove_collections(settings: Settings) -> None:
    opened: Any = create_store(settings, dimensions=DIMENSIONS)
    await opened.open()
    await opened._client.alias.delete(alias_name=alias_name(namespace=settings.kafka.namespace))
    await opened._client.collections.delete([opened._memories, opened._heads])
    await opened.close()


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Another process writes the file and does not come to an end."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


@pytest.fixture
def closed_ports() -> Iterator[list[int]]:
    """Two ports that refuse connections for as long as the test runs."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        yield [first.getsockname()[1], second.getsockname()[1]]


def ids(hits: list[Any]) -> list[str]:
    """Ids in the order of the hits."""
    return [hit.memory.memory_id for hit in hits]


async def lexical(store: Store, user: UserKey, tokens: str, limit: int = 10) -> list[Any]:
    """The lexical leg alone."""
    return (await store.search(user, tokens=tokens.split(" "), vector=NOTHING, limit=limit)).lexical


async def nearest(store: Store, user: UserKey, vector: NDArray[np.float32], limit: int = 10) -> list[Any]:
    """The vector leg alone."""
    return (await store.search(user, tokens=[], vector=vector, limit=limit)).vector


class TestWriting:
    """What `upsert` promises."""

    async def test_round_trip(self, store: Store) -> None:
        """A memory comes back equal to what was written, by every way of reading it."""
        late = datetime(2026, 1, 2, 3, 4, 5, 999999, tzinfo=UTC)
        written = memory(
            kind="fact",
            text='Sie sagte: "ü\n\t東京 \u0000 \U0001f600"' + "x" * 50_000,
            conversation_id=None,
            role=None,
            name="Maria 'M' \\",
            slot="home",
            source_event_ids=["e1", "é/2", ""],
            valid_to=late,
            retracted_at=late,
            superseded_by=derive("fact", "other"),
        )

        await store.upsert([row(written)])

        legs = await store.search(MARIA, tokens=["word"], vector=unit(1), limit=10)
        assert await store.memories(MARIA) == [written]
        assert await store.get(MARIA, [written.memory_id]) == [written]
        assert [hit.memory for hit in legs.lexical] == [written]
        assert [hit.memory for hit in legs.vector] == [written]

    async def test_repeated_upsert(self, store: Store) -> None:
        """Writing the same rows again changes neither what is stored nor what is found, in which order.

        Lexical scores may move: Weaviate counts the words of a repeated write into its average length.
        """
        rows = [row(memory(number=1)), row(memory(number=2), "word other")]
        await store.upsert(rows)
        before = await store.search(MARIA, tokens=["word"], vector=unit(1), limit=10)

        await store.upsert(rows)

        after = await store.search(MARIA, tokens=["word"], vector=unit(1), limit=10)
        assert [hit.memory for hit in after.lexical] == [hit.memory for hit in before.lexical]
        assert after.vector == before.vector
        assert await store.count() == 2

    async def test_last_row_counts(self, store: Store) -> None:
        """Of several rows of one memory in one call the last one is stored, and found by its own words only."""
        rows = [row(memory(revision=n, text=f"state {n}"), f"only{n}", unit(n == 1, n == 2, n == 3)) for n in (1, 2, 3)]

        await store.upsert(rows)

        (stored,) = await store.memories(MARIA)
        assert (stored.text, stored.revision) == ("state 3", 3)
        assert await store.count() == 1
        assert await lexical(store, MARIA, "only1 only2") == []
        assert ids(await lexical(store, MARIA, "only3")) == [stored.memory_id]
        assert (await nearest(store, MARIA, unit(0, 0, 1)))[0].score == pytest.approx(1.0, abs=1e-3)

    async def test_replaced_memory(self, store: Store) -> None:
        """A newer revision replaces text, words and vector of the older one."""
        await store.upsert([row(memory(revision=1), "berlin", unit(1))])

        await store.upsert([row(memory(revision=2, text="moved"), "bonn", unit(0, 1))])

        (stored,) = await store.memories(MARIA)
        assert stored.text == "moved"
        assert await lexical(store, MARIA, "berlin") == []
        assert ids(await lexical(store, MARIA, "bonn")) == [stored.memory_id]
        assert (await nearest(store, MARIA, unit(1)))[0].score == pytest.approx(0.0, abs=1e-3)

    async def test_older_revision(self, store: Any) -> None:
        """An older revision changes nothing where the store can compare; where it cannot, the last writer wins."""
        await store.upsert([row(memory(revision=5, text="new"), "new")])

        await store.upsert([row(memory(revision=4, text="old"), "old")])

        (stored,) = await store.memories(MARIA)
        expected = "new" if store.refuses_older_revisions else "old"
        assert stored.text == expected
        assert ids(await lexical(store, MARIA, "old new")) == [stored.memory_id]
        assert ids(await lexical(store, MARIA, expected)) == [stored.memory_id]

    async def test_rewrite(self, store: Any) -> None:
        """Rewriting leaves what `upsert` would: new, equal and changed memories, found once; no head gives way."""
        await store.upsert([row(memory(number=n)) for n in (1, 2)], heads=[head(revision=5)])
        changed = row(memory(number=2, text="changed"), "other", NOTHING)

        await store.rewrite([row(memory(number=1)), changed, row(memory(number=3))], heads=[head(revision=3)])

        legs = await store.search(MARIA, tokens=["word", "other"], vector=unit(1), limit=10)
        memories = [memory(number=1), changed.memory, memory(number=3)]
        assert await store.memories(MARIA) == memories
        assert sorted(ids(legs.lexical)) == sorted(m.memory_id for m in memories)
        assert sorted(ids(legs.vector)) == sorted([memories[0].memory_id, memories[2].memory_id])
        assert (await store.heads([MARIA]))[MARIA].revision == 5
        assert await store.count() == 3

    async def test_rewrite_of_an_older_revision(self, store: Any) -> None:
        """It is refused wherever `upsert` refuses it."""
        await store.upsert([row(memory(revision=5, text="new"))])

        await store.rewrite([row(memory(revision=4, text="old"))])

        (stored,) = await store.memories(MARIA)
        assert stored.text == ("new" if store.refuses_older_revisions else "old")

    async def test_wrong_vector(self, store: Store) -> None:
        """A vector of another length is refused, in writing and in searching, and nothing of the call is written."""
        with pytest.raises(RefusedError, match="vector"):
            await store.upsert([row(memory(number=1)), row(memory(number=2), vector=np.ones(3, dtype=np.float32))])
        with pytest.raises(RefusedError, match="vector"):
            await store.search(MARIA, tokens=[], vector=np.ones(3, dtype=np.float32), limit=1)

        assert await store.count() == 0

    async def test_wrong_id(self, store: Store) -> None:
        """A memory id that is no UUID is refused in writing, and is simply not there in reading and erasing."""
        with pytest.raises(RefusedError, match="UUID"):
            await store.upsert([row(memory(memory_id="memory-1"))])

        assert await store.get(MARIA, ["memory-1"]) == []
        await store.delete(MARIA, ["memory-1"])

    async def test_many_users_in_one_call(self, store: Store) -> None:
        """One call writes for any number of users, in whatever buckets they are."""
        users = [UserKey("acme", f"u{n}") for n in range(60)]
        assert len({bucket_of(user, 4) for user in users}) == 4

        await store.upsert([row(memory(user, number)) for number in (1, 2) for user in users])

        assert await store.count() == 120
        for user in users[:5]:
            assert [m.user for m in await store.memories(user)] == [user, user]

    async def test_concurrent_calls(self, store: Store) -> None:
        """Calls may run at once; each sees a whole store."""
        users = [UserKey("acme", f"u{n}") for n in range(8)]

        await asyncio.gather(*(store.upsert([row(memory(user, n)) for n in range(5)]) for user in users))
        found = await asyncio.gather(*(lexical(store, user, "word") for user in users))

        assert [len(hits) for hits in found] == [5] * 8

    async def test_nothing_to_do(self, store: Store) -> None:
        """Empty calls are fine."""
        await store.upsert([])
        await store.upsert((), heads=[])
        await store.delete(MARIA, [])

        assert await store.heads([]) == {}
        assert await store.get(MARIA, []) == []
        assert await store.memories(MARIA) == []
        assert await store.count() == 0


class TestUsers:
    """Users never see each other."""

    async def test_isolation(self, store: Store) -> None:
        """No call about one user reads or touches another, however alike their names are."""
        await store.upsert([row(memory(user, n), "same words") for user in LOOK_ALIKES for n in (1, 2)])
        await store.upsert((), heads=[head(user, revision=at) for at, user in enumerate(LOOK_ALIKES)])

        heads = await store.heads(LOOK_ALIKES)
        for at, user in enumerate(LOOK_ALIKES):
            mine = {memory(user, 1).memory_id, memory(user, 2).memory_id}
            legs = await store.search(user, tokens=["same", "words"], vector=unit(1), limit=100)
            assert set(ids(legs.lexical)) == mine
            assert set(ids(legs.vector)) == mine
            assert {m.memory_id for m in await store.memories(user)} == mine
            assert heads[user].revision == at

    async def test_isolated_delete(self, store: Store) -> None:
        """Erasing for one user erases nothing of another, not even under the other's memory ids."""
        everybody = [memory(user).memory_id for user in LOOK_ALIKES]
        await store.upsert([row(memory(user)) for user in LOOK_ALIKES])

        await store.delete(LOOK_ALIKES[0], everybody)

        assert await store.memories(LOOK_ALIKES[0]) == []
        for user in LOOK_ALIKES[1:]:
            assert await store.memories(user) == [memory(user)]

    async def test_isolated_get(self, store: Store) -> None:
        """A memory is found by its id for its own user only."""
        other = UserKey("acme", "peter")
        await store.upsert([row(memory(MARIA)), row(memory(other))])

        assert await store.get(other, [memory(MARIA).memory_id]) == []

    async def test_stranger(self, store: Store) -> None:
        """A user that nobody wrote has nothing."""
        stranger = UserKey("acme", "stranger")
        legs = await store.search(stranger, tokens=["word"], vector=unit(1), limit=10)

        assert (legs.lexical, legs.vector) == ([], [])
        assert await store.memories(stranger) == []
        assert await store.heads([stranger]) == {}


class TestSearching:
    """What `search` promises."""

    @pytest.mark.parametrize(
        "token",
        [
            "東京",
            "京都",
            "o'brien",
            "c++",
            "node.js",
            "2025-03-01",
            "maria@example.com",
            "don\u2019t",
            "élan",
            "का",
            "-",
            '"',
            "*",
            "a*",
            "AND",
            "NEAR(a,b)",
            "terms:a",
            "🦀",
            "the",
            "a b",
            "\u3000x",
            "x" * 5_000,
        ],
    )
    async def test_tokens_pass_unchanged(self, store: Store, token: str) -> None:
        """A token is found exactly as it was written: no store splits, folds, drops or interprets it."""
        written = memory(number=1)
        decoys = [token[:-1], token.swapcase() + "_", token + "a", "a", "b", "and"]
        await store.upsert(
            [
                StoreRow(memory=written, tokens=["before", token], vector=NOTHING),
                StoreRow(memory=memory(number=2), tokens=[d for d in decoys if d != token], vector=NOTHING),
            ]
        )

        legs = await store.search(MARIA, tokens=[token], vector=NOTHING, limit=10)

        assert ids(legs.lexical) == [written.memory_id]

    async def test_case_is_kept(self, store: Store) -> None:
        """Tokens of other case are other tokens: folding is the analyser's business."""
        await store.upsert([row(memory(number=1), "Berlin"), row(memory(number=2), "berlin")])

        assert ids(await lexical(store, MARIA, "Berlin")) == [memory(number=1).memory_id]
        assert ids(await lexical(store, MARIA, "berlin")) == [memory(number=2).memory_id]

    async def test_empty_query(self, store: Store) -> None:
        """No tokens give an empty lexical leg, zeros an empty vector leg."""
        await store.upsert([row(memory())])

        legs = await store.search(MARIA, tokens=[], vector=NOTHING, limit=10)

        assert (legs.lexical, legs.vector) == ([], [])

    async def test_memory_without_index_entries(self, store: Store) -> None:
        """A memory without tokens is in no lexical leg, one without a vector in no vector leg; both are kept."""
        await store.upsert(
            [
                StoreRow(memory=memory(number=1), tokens=[], vector=unit(1)),
                StoreRow(memory=memory(number=2), tokens=["word"], vector=NOTHING),
            ]
        )

        legs = await store.search(MARIA, tokens=["word"], vector=unit(1), limit=10)

        assert ids(legs.lexical) == [memory(number=2).memory_id]
        assert ids(legs.vector) == [memory(number=1).memory_id]
        assert await store.memories(MARIA) == [memory(number=1), memory(number=2)]

    async def test_limit(self, store: Store) -> None:
        """Each leg has at most as many hits as asked for, and they are the best ones."""
        await store.upsert([row(memory(number=n), "word " * n + "end", unit(1, n)) for n in range(1, 9)])

        legs = await store.search(MARIA, tokens=["word"], vector=unit(0, 1), limit=3)
        every = await store.search(MARIA, tokens=["word"], vector=unit(0, 1), limit=100)

        assert len(legs.lexical) == len(legs.vector) == 3
        assert legs.lexical == every.lexical[:3]
        assert ids(legs.vector) == [memory(number=n).memory_id for n in (8, 7, 6)]

    async def test_scores(self, store: Store) -> None:
        """Legs are sorted, best first; rare and repeated words weigh more; the vector score is the cosine."""
        texts = ["common", "common common rare", "common rare rare rare", "other common", "common"]
        vectors = [unit(1), unit(1, 1), unit(0, 1), unit(-1), unit(1, 0.1)]
        await store.upsert([row(memory(number=n), texts[n], vectors[n]) for n in range(5)])

        legs = await store.search(MARIA, tokens=["common", "rare"], vector=unit(1), limit=10)

        for leg in (legs.lexical, legs.vector):
            scores = [hit.score for hit in leg]
            assert scores == sorted(scores, reverse=True)
        assert set(ids(legs.lexical)[:2]) == {memory(number=1).memory_id, memory(number=2).memory_id}
        assert ids(await lexical(store, MARIA, "rare"))[0] == memory(number=2).memory_id
        cosines = {hit.memory.memory_id: hit.score for hit in legs.vector}
        for n in range(5):
            assert cosines[memory(number=n).memory_id] == pytest.approx(float(vectors[n] @ unit(1)), abs=2e-3)

    async def test_repeated_query_tokens(self, store: Store) -> None:
        """A token that stands twice in the query counts twice."""
        await store.upsert([row(memory(number=1), "tea"), row(memory(number=2), "milk")])

        assert ids(await lexical(store, MARIA, "tea tea milk"))[0] == memory(number=1).memory_id
        assert ids(await lexical(store, MARIA, "tea milk milk"))[0] == memory(number=2).memory_id


class TestReading:
    """What `memories` and `get` promise."""

    async def test_order(self, store: Store) -> None:
        """Memories come in revision order, asked-for ones in the order asked for; what is not there is left out."""
        written = [memory(number=n, revision=(n * 7) % 20) for n in range(20)]
        await store.upsert([row(m) for m in written])
        asked = [written[3], written[11], written[0]]

        found = await store.get(MARIA, [asked[0].memory_id, derive("turn", "none"), *(m.memory_id for m in asked[1:])])

        assert await store.memories(MARIA) == sorted(written, key=lambda m: m.revision)
        assert found == asked

    @pytest.mark.timeout(120)
    async def test_more_than_ten_thousand(self, store: Store) -> None:
        """A user's memories come back whole, also past Weaviate's limit of 10,000 results."""
        written = [memory(number=n) for n in range(10_500)]
        for start in range(0, len(written), 1_500):
            await store.upsert([row(m, vector=NOTHING) for m in written[start : start + 1_500]])
        await store.upsert([row(memory(UserKey("acme", "peter")))])

        assert await store.memories(MARIA) == written
        assert await store.count() == 10_501
        assert await store.get(MARIA, [m.memory_id for m in written[:2_500]]) == written[:2_500]
        await store.delete(MARIA, [m.memory_id for m in written[:2_500]])
        assert await store.count() == 8_001


class TestErasing:
    """What `delete` promises."""

    async def test_delete(self, store: Store) -> None:
        """An erased memory is found by nothing; erasing it again, or what never was, is fine."""
        await store.upsert([row(memory(number=n), f"word only{n}") for n in (1, 2)])
        gone = memory(number=1).memory_id

        for _ in range(2):
            await store.delete(MARIA, [gone, derive("turn", "never")])

        legs = await store.search(MARIA, tokens=["word", "only1"], vector=unit(1), limit=10)
        assert ids(legs.lexical) == ids(legs.vector) == [memory(number=2).memory_id]
        assert await store.get(MARIA, [gone]) == []
        assert await store.memories(MARIA) == [memory(number=2)]
        assert await store.count() == 1

    async def test_written_again(self, store: Store) -> None:
        """An erased memory may be written again, under any revision."""
        await store.upsert([row(memory(revision=9))])
        await store.delete(MARIA, [memory().memory_id])

        await store.upsert([row(memory(revision=1), "again")])

        assert ids(await lexical(store, MARIA, "again")) == [memory().memory_id]


def head(user: UserKey = MARIA, **fields: Any) -> Head:
    """A head."""
    return Head(tenant=user.tenant, user_id=user.user_id, generation=1, **fields)


class TestHeads:
    """What writing and reading heads promises."""

    async def test_round_trip(self, store: Store) -> None:
        """A head comes back equal; users without one are left out."""
        written = head(
            revision=7, digest=bytes(range(16)), memories=3, forgets=2, fences=[Fence("conversation", 41, "c1")]
        )

        await store.upsert((), heads=[written])

        assert await store.heads([MARIA, UserKey("acme", "nobody")]) == {MARIA: written}

    async def test_never_older(self, store: Store) -> None:
        """A head never gives way to an older one, across calls or within one; the same one may be put again."""
        await store.upsert((), heads=[head(revision=5, memories=5)])

        await store.upsert((), heads=[head(revision=4, memories=4)])
        assert (await store.heads([MARIA]))[MARIA].memories == 5
        await store.upsert((), heads=[head(revision=5, memories=5)])
        assert (await store.heads([MARIA]))[MARIA].memories == 5
        await store.upsert((), heads=[head(revision=7, memories=7), head(revision=6, memories=6)])
        assert (await store.heads([MARIA]))[MARIA].memories == 7

    async def test_with_memories(self, store: Store) -> None:
        """Heads that come with memories are there as if put alone, never older ones, and none if a row is refused."""
        await store.upsert([row(memory())], heads=[head(revision=5, memories=5)])
        assert (await store.heads([MARIA]))[MARIA].memories == 5
        assert await store.memories(MARIA) == [memory()]

        await store.upsert([], heads=[head(revision=4, memories=4)])
        assert (await store.heads([MARIA]))[MARIA].memories == 5
        with pytest.raises(RefusedError):
            await store.upsert([row(memory(), vector=np.ones(3, dtype=np.float32))], heads=[head(revision=9)])
        assert (await store.heads([MARIA]))[MARIA].revision == 5

    async def test_are_no_memories(self, store: Store) -> None:
        """Heads are not counted or found as memories, and survive the erasure of all of them."""
        await store.upsert([row(memory())])
        await store.upsert((), heads=[head(revision=1)])

        await store.delete(MARIA, [memory().memory_id])

        assert await store.count() == 0
        assert await store.memories(MARIA) == []
        assert (await store.heads([MARIA]))[MARIA].revision == 1

    async def test_many(self, store: Store) -> None:
        """Heads of a whole micro-batch are written and read in one call."""
        users = [UserKey("acme", f"u{n}") for n in range(1_200)]

        await store.upsert((), heads=[head(user, revision=n) for n, user in enumerate(users)])

        heads = await store.heads(users)
        assert [heads[user].revision for user in users] == list(range(1_200))


def way_out(settings: Settings) -> str:
    """What helps against a store that was made for something else."""
    return "delete the file" if settings.store.kind == "sqlite" else "build another one"


class TestOpening:
    """What `open` and `close` promise."""

    async def test_reopened(self, store: Store) -> None:
        """What was written is there after the store was closed and opened again."""
        await store.upsert([row(memory())])
        await store.upsert((), heads=[head(revision=1)])

        await store.close()
        await store.open()

        assert await store.memories(MARIA) == [memory()]
        assert ids(await lexical(store, MARIA, "word")) == [memory().memory_id]
        assert MARIA in await store.heads([MARIA])

    async def test_closed(self, store: Store) -> None:
        """A closed store answers nothing; closing twice and opening twice are fine."""
        await store.close()
        await store.close()

        with pytest.raises(BugError, match="not open"):
            await store.count()
        await store.open()
        await store.open()
        assert await store.count() == 0

    async def test_opened_at_once(self, settings: Settings, store: Store) -> None:
        """Several processes may open a new store at the same time, and see each other's writes."""
        fresh = settings.replace("worker", generation=2)
        stores = [create_store(fresh, dimensions=DIMENSIONS) for _ in range(4)]

        await asyncio.gather(*(opened.open() for opened in stores))
        try:
            await asyncio.gather(*(opened.upsert([row(memory(number=n))]) for n, opened in enumerate(stores)))
            assert [await opened.count() for opened in stores] == [4] * 4
            assert await store.count() == 0
        finally:
            await asyncio.gather(*(opened.close() for opened in stores))
            if settings.store.kind == "weaviate":
                await _remove_collections(fresh)

    @pytest.mark.usefixtures("store")
    async def test_other_dimensions(self, settings: Settings) -> None:
        """A store made for vectors of another length is refused, with what to do."""
        with pytest.raises(RefusedError, match=f"dimensions.*{way_out(settings)}"):
            await create_store(settings, dimensions=DIMENSIONS * 2).open()

    @pytest.mark.usefixtures("store")
    async def test_other_schema_version(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        """A store of another schema version is refused, with what to do."""
        monkeypatch.setattr(sqlite_layout, "SCHEMA_VERSION", 99)
        monkeypatch.setattr(weaviate_layout, "SCHEMA_VERSION", 99)

        with pytest.raises(RefusedError, match=f"version.*{way_out(settings)}"):
            await create_store(settings, dimensions=DIMENSIONS).open()

        monkeypatch.undo()

    async def test_foreign_content(self, settings: Settings, store: Store) -> None:
        """A file or a collection that memstream did not make is refused and left alone."""
        foreign = settings.replace("worker", generation=3)
        if settings.store.kind == "sqlite":
            path = sqlite_file(foreign)
            path.write_bytes(b"something else entirely" * 100)
            with pytest.raises(RefusedError, match="no SQLite file"):
                await create_store(foreign, dimensions=DIMENSIONS).open()
            assert path.read_bytes() == b"something else entirely" * 100
            return
        client: Any = store._client  # type: ignore[attr-defined]
        name = collection_name(namespace=settings.kafka.namespace, generation=3)
        await client.collections.create_from_dict({"class": name, "description": "mine", "vectorizer": "none"})
        try:
            with pytest.raises(RefusedError, match="did not make"):
                await create_store(foreign, dimensions=DIMENSIONS).open()
        finally:
            await client.collections.delete(name)


class TestFailing:
    """What a store that cannot be reached does."""

    @pytest.mark.usefixtures("store")
    async def test_store_away(self, settings: Settings, closed_ports: list[int]) -> None:
        """A store that is away is a passing error, told before the timeout has run out."""
        http, grpc = (f"127.0.0.1:{port}" for port in closed_ports)
        away = settings.replace("store", http=http, grpc=grpc, timeout=timedelta(seconds=2))
        other = create_store(away, dimensions=DIMENSIONS)
        started = time.monotonic()
        if settings.store.kind == "weaviate":
            with pytest.raises(TransientError, match="away"):
                await other.open()
        else:
            await other.open()
            with locked(str(sqlite_file(settings))), pytest.raises(TransientError, match="busy"):
                await other.upsert([row(memory())])
            await other.upsert([row(memory())])  # the lock is gone, and so is the error
            await other.close()
        assert time.monotonic() - started < 4
