"""Laws of the micro-batcher."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from raw_records import raw_batch, raw_record

from streams.engine.batch_pace import BatchPace
from streams.engine.batch_size import BatchSize
from streams.engine.batcher import CloseReason, MicroBatcher, RawBatch
from streams.engine.chunk import RECORD_OVERHEAD_BYTES, Chunk, Lease, record_bytes


def batcher(max_events: int = 10, max_bytes: int = 100_000, max_age_ms: int = 20) -> MicroBatcher:
    size = BatchSize(max_events=max_events, latency_target=timedelta(0))
    return MicroBatcher(size=size, max_bytes=max_bytes, pace=BatchPace(timedelta(milliseconds=max_age_ms)))


def chunk(lease: Lease, sizes: list[int], first: int = 0) -> Chunk:
    messages = [raw_record(lease.partition, first + i, bytes(size)) for i, size in enumerate(sizes)]
    return Chunk(lease, messages, record_bytes(messages))


def counted_bytes(*sizes: int) -> int:
    return sum(sizes) + RECORD_OVERHEAD_BYTES * len(sizes)


def drain(b: MicroBatcher) -> list[RawBatch]:
    taken = []
    while len(b):
        taken.append(b.take(now_s=0.0))
    return taken


chunks = st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 700), min_size=1, max_size=30)), max_size=12)


@given(chunks, st.integers(1, 15), st.integers(1, 5000))
def test_every_record_leaves_once_and_in_the_order_of_its_partition(
    added: list[tuple[int, list[int]]], max_events: int, max_bytes: int
) -> None:
    """Whatever comes in leaves exactly once, and within a partition in the order it came."""
    b = batcher(max_events, max_bytes)
    leases = [Lease(p, 0) for p in range(4)]
    expected: dict[int, list[int]] = {p: [] for p in range(4)}
    for partition, sizes in added:
        b.add(chunk(leases[partition], sizes, first=len(expected[partition])), now_s=0.0)
        expected[partition] += range(len(expected[partition]), len(expected[partition]) + len(sizes))

    left: dict[int, list[int]] = {p: [] for p in range(4)}
    for batch in drain(b):
        for lease, message in batch:
            left[lease.partition].append(message.offset() or 0)

    assert left == expected


@given(chunks, st.integers(1, 15), st.integers(1, 5000))
def test_no_batch_exceeds_its_limits(added: list[tuple[int, list[int]]], max_events: int, max_bytes: int) -> None:
    """A batch has at most so many events and so many bytes; only a single record may be larger by itself."""
    b = batcher(max_events, max_bytes)
    leases = [Lease(p, 0) for p in range(4)]
    for partition, sizes in added:
        b.add(chunk(leases[partition], sizes), now_s=0.0)

    for batch in drain(b):
        assert 1 <= len(batch) <= max_events
        assert batch.size_bytes <= max_bytes or len(batch) == 1


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40))
def test_halves_settled_in_turn_keep_the_order_within_each_partition(partitions: list[int]) -> None:
    """Halving never lets a later record of a partition go before an earlier one, and no half is empty."""
    batch = raw_batch(raw_record(p, i) for i, p in enumerate(partitions))

    left, right = batch.halves()

    assert [*left, *right] == list(batch)
    assert len(left) == len(partitions) // 2


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.dictionaries(st.integers(0, 3), st.integers(0, 40)))
def test_what_is_behind_some_offsets(partitions: list[int], offsets: dict[int, int]) -> None:
    """Records up to the offset of their partition are left out, all others stay in their order."""
    batch = raw_batch(raw_record(p, i) for i, p in enumerate(partitions))

    kept = [(lease.partition, message.offset()) for lease, message in batch.behind(offsets)]

    assert kept == [(le.partition, m.offset()) for le, m in batch if (m.offset() or 0) > offsets.get(le.partition, -1)]


def test_a_batch_closes_by_count_at_once() -> None:
    """As soon as enough events wait, nothing is waited for."""
    b = batcher(max_events=3)
    b.add(chunk(Lease(0, 0), [1, 1, 1]), now_s=5.0)

    assert b.due_in_s(now_s=5.0) == 0.0
    assert b.take(now_s=5.0).closed_by is CloseReason.COUNT


def test_a_batch_closes_by_the_age_of_its_oldest_event() -> None:
    """A later chunk does not put the closing off."""
    b = batcher(max_age_ms=20)
    b.add(chunk(Lease(0, 0), [1]), now_s=1.0)
    b.add(chunk(Lease(1, 0), [1]), now_s=1.015)

    assert b.due_in_s(now_s=1.015) == 1.0 + 0.020 - 1.015
    assert b.due_in_s(now_s=1.021) == 0.0


def test_nothing_is_due_when_nothing_waits() -> None:
    """An empty batcher asks for no wake-up."""
    assert batcher().due_in_s(now_s=1.0) is None


def test_a_hot_partition_does_not_starve_the_others() -> None:
    """With ten times as much waiting in one partition, the others still fill their share of the next batch."""
    b = batcher(max_events=9, max_bytes=10**6)
    hot, cold, cool = Lease(0, 0), Lease(1, 0), Lease(2, 0)
    b.add(chunk(hot, [1] * 90), now_s=0.0)
    b.add(chunk(cold, [1] * 9), now_s=0.0)
    b.add(chunk(cool, [1] * 9), now_s=0.0)

    taken = [lease.partition for lease, _ in b.take(now_s=0.0)]

    assert taken.count(0) == taken.count(1) == taken.count(2) == 3


def test_what_a_lost_partition_left_is_dropped_and_its_bytes_are_freed() -> None:
    """Dropping a lease takes its records out and says how many bytes they were."""
    b = batcher()
    kept, lost = Lease(0, 0), Lease(1, 0)
    b.add(chunk(kept, [10]), now_s=0.0)
    b.add(chunk(lost, [20, 30]), now_s=0.0)

    assert b.drop({lost}) == counted_bytes(20, 30)
    assert [lease.partition for lease, _ in b.take(now_s=0.0)] == [0]


def test_a_chunk_of_a_dead_lease_is_not_taken_in() -> None:
    """What arrives after its partition was given back belongs to another process."""
    b = batcher()
    lease = Lease(0, 0, alive=False)
    b.add(chunk(lease, [1]), now_s=0.0)

    assert len(b) == 0
