"""One event on its way through all six stages: a tour of the code that runs.

Read it top to bottom beside `topology/graph.py`. Each hop takes what the one before it wrote. In production Kafka
stands between them, and the engine (`streams.engine.runner`) turns each one into a transaction; here the log is a list.
"""

from pathlib import Path

import pytest
from in_process_log import InProcessLog, ManualClock

from schemas.candidate import Candidate, Embedded, Lane, Watermark
from schemas.conversation import ConversationEnded, Turn
from schemas.ids import UserKey
from schemas.indexed import Indexed
from schemas.memory import MemoryChange, Op
from streams.clients.reader import MemoryReader
from streams.settings import Settings
from streams.stages import consolidate, embed, extract, index, record
from streams.stages.invalidate import Invalidate
from topology import topics

USER = UserKey("acme", "maria")


class SeenVersions:
    """A cache that remembers what it was told; the real one is `streams.caches.redis_versions`."""

    def __init__(self) -> None:
        self.seen: dict[UserKey, int] = {}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def invalidate(self, versions: dict[UserKey, int], memory_ids: object) -> None:
        self.seen.update(versions)

    async def versions(self, users: object) -> dict[UserKey, int]:
        return self.seen


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A SQLite store of the test's own, four partitions."""
    return Settings().replace("store", path=str(tmp_path / "store.db")).replace("kafka", partitions=4)


async def test_one_turn_becomes_memories_that_are_announced_searchable_and_invalidated(settings: Settings) -> None:
    """A turn is recorded, extracted, embedded, consolidated, indexed and its user's cache version raised."""
    clock = ManualClock()
    log = InProcessLog(partitions=4, clock=clock)

    # 0. A service publishes a turn, and the end of its conversation.
    said = Turn(
        tenant="acme", user_id="maria", conversation_id="c1", event_id="e1", role="user", content="I moved to Berlin."
    )
    log.publish(said)
    log.publish(ConversationEnded(tenant="acme", user_id="maria", conversation_id="c1", event_id="e2"))

    # 1. record: the turn is a candidate at once; the lane's watermark follows it.
    await log.run(record.create(settings, clock))
    turn, passed = log.decoded(topics.CANDIDATES)
    assert isinstance(turn, Candidate)
    assert (turn.kind, turn.text, turn.source_event_ids) == ("turn", "I moved to Berlin.", ["e1"])
    assert passed == Watermark(Lane.RECORD, 1)

    # 2. extract: the conversation has ended, so its window closes and the extractor reads it.
    await log.run(extract.create(settings, clock, reader=log))
    fact, passed = log.decoded(topics.CANDIDATES)[2:]
    assert (fact.kind, fact.source_event_ids) == ("fact", ["e1"])
    assert passed == Watermark(Lane.EXTRACT, 1)

    # 3. embed: both get a vector; watermarks pass through.
    await log.run(embed.create(settings, clock))
    embedded = [event for event in log.decoded(topics.EMBEDDED) if isinstance(event, Embedded)]
    assert [len(event.vector) for event in embedded] == [512, 512]  # 256 dimensions, float16

    # 4. consolidate: both are new, so two changes are announced, with gapless revisions and one head for the user.
    consolidating = consolidate.create(settings, clock, reader=log)
    await consolidating.open()
    await log.run(consolidating)
    changes = [event for event in log.decoded(topics.CHANGES) if isinstance(event, MemoryChange)]
    assert [(change.op, change.revision, change.kind) for change in changes] == [
        (Op.ADDED, 1, "turn"),
        (Op.ADDED, 2, "fact"),
    ]
    (head,) = log.decoded(topics.HEADS)
    assert (head.user, head.revision, head.memories) == (USER, 2, 2)

    # 5. index: the store has them, and only then says so.
    indexing = index.create(settings, clock, reader=log)
    await indexing.open()
    await log.run(indexing)
    (notice,) = log.decoded(topics.INDEXED)
    assert isinstance(notice, Indexed)
    assert [(user.user_id, user.revision) for user in notice.users] == [("maria", 2)]
    assert set(notice.watermarks) == {Watermark(Lane.RECORD, 1), Watermark(Lane.EXTRACT, 1)}

    # 6. invalidate: whatever caches held of this user before revision 2 is unreachable now.
    cache = SeenVersions()
    await log.run(Invalidate(cache))
    assert cache.seen == {USER: 2}

    # And a reader finds it.
    async with MemoryReader(settings) as reader:
        found = await reader.search("maria", "Where does Maria live, in Berlin?", tenant="acme")
    assert {result.memory_id for result in found} == {changes[0].memory_id, changes[1].memory_id}
    await consolidating.close()
    await indexing.close()
