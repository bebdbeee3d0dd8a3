"""Partitions that readers of committed records cannot pass, because a transaction in them does not end.

Any transaction of ours ends within seconds: by its producer, by the producer's successor, or by the coordinator after
10 s. One that stays longer hangs: its coordinator takes it for ended and will never write its marker. Kafka 4.3.1
leaves such behind when it is killed (KAFKA-20734; `tests/chaos/broker_kill_reproduction.py` shows it), 4.2.2 does not.

This only finds them. Ending one is an operator's decision, with Kafka's own `kafka-transactions.sh`: its `abort` throws
away a transaction that was committed, if it was the COMMIT marker that got lost. Starting the worker again is no way
out: a producer under the same transactional id ends the old transaction with its own next marker in that partition,
and so commits what may have been aborted.

There are two ways to look. `find_hanging` watches and is sure. `find_old` looks once and believes the timestamps that
clients gave their records, so a transaction of old-dated records shows while it is open; it is for a quick look.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from streams.clients.log_scan import LogScan
from streams.clock import Clock
from streams.engine.raw_record import partition_of
from topology.topics import TopicSpec

HANGS_AFTER = timedelta(seconds=25)
"""The timeout of our transactions (10 s, `streams.engine.kafka`), a broker's default pause between two looks for those
that have timed out (10 s), and what ending one may take. Publishers of others may have longer timeouts."""

_LOOKS_EVERY_S = 0.5

Places = dict[tuple[str, int], tuple[int, int]]


@dataclass(frozen=True, order=True)
class HangingTransaction:
    """One partition that is held up.

    Attributes:
        topic: its name in Kafka.
        partition: in the topic.
        first_offset: of the transaction that does not end; committed readers stop before it.
        records_behind: how many offsets are written from there on.
        open_s: for how long it has been open at least.
    """

    topic: str
    partition: int
    first_offset: int
    records_behind: int
    open_s: float


def find_hanging(
    scan: LogScan,
    specs: Iterable[TopicSpec],
    *,
    standing_for: timedelta = HANGS_AFTER,
    partitions: Collection[int] | None = None,
) -> list[HangingTransaction]:
    """Find the partitions whose committed end stands still before their end.

    Watches until all of them have moved, `standing_for` at most: beside workers that is a look or two.

    Args:
        scan: where to look.
        specs: the topics to look at.
        standing_for: how long the committed end must not have moved; more than the transaction timeout of whoever
            writes there, or a transaction that is merely slow is taken for a hanging one.
        partitions: only these of each topic.

    Raises:
        UsageError: a topic does not exist.
        TransientError: the broker is away.
    """
    topics = list(specs)
    standing = _held_up(scan, topics, partitions)
    left_s = standing_for.total_seconds()
    ends_at_s = time.monotonic() + left_s
    while standing and left_s > 0:
        time.sleep(min(_LOOKS_EVERY_S, left_s))
        left_s = ends_at_s - time.monotonic()
        now = _held_up(scan, topics, partitions)
        standing = {place: now[place] for place, (stable, _) in standing.items() if now.get(place, (-1,))[0] == stable}
    return sorted(
        HangingTransaction(topic, partition, stable, end - stable, standing_for.total_seconds())
        for (topic, partition), (stable, end) in standing.items()
    )


def find_old(
    scan: LogScan, specs: Iterable[TopicSpec], clock: Clock, *, older_than: timedelta = HANGS_AFTER
) -> list[HangingTransaction]:
    """Find the partitions whose committed end stands before a record that is old, at one look.

    Reads one record of each partition in which a transaction is open.

    Args:
        scan: where to look.
        specs: the topics to look at.
        clock: what time it is.
        older_than: the age, by its timestamp, that the first record of a transaction must have.

    Raises:
        UsageError: a topic does not exist.
        TransientError: the broker is away.
    """
    found = []
    for spec in specs:
        held_up = {partition: place for (_, partition), place in _held_up(scan, [spec]).items()}
        firsts = {partition: range(stable, stable + 1) for partition, (stable, _) in held_up.items()}
        for message in scan.read(spec, firsts, with_open=True):
            partition = partition_of(message)
            open_s = clock.now().timestamp() - message.timestamp()[1] / 1000
            if open_s > older_than.total_seconds():
                stable, end = held_up[partition]
                found.append(HangingTransaction(scan.name(spec), partition, stable, end - stable, round(open_s, 3)))
    return sorted(found)


def _held_up(scan: LogScan, specs: Iterable[TopicSpec], partitions: Collection[int] | None = None) -> Places:
    """Committed end and end of each partition where they differ."""
    found: Places = {}
    for spec in specs:
        # The end first: what commits between the two looks is not held up.
        written, committed = scan.bounds(spec, with_open=True), scan.bounds(spec)
        for partition in written.keys() if partitions is None else written.keys() & set(partitions):
            if committed[partition].stop < written[partition].stop:
                found[scan.name(spec), partition] = committed[partition].stop, written[partition].stop
    return found
