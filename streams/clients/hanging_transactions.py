"""Partitions that readers of committed records cannot pass, because a transaction in them does not end.

Any transaction of ours ends within seconds: by its producer, by the producer's successor, or by the coordinator after
10 s. One that stays longer hangs: its coordinator takes it for ended and will never write its marker. Kafka 4.3.1
leaves such behind when it is killed (KAFKA-20734; `tests/chaos/broker_kill_reproduction.py` shows it), 4.2.2 does not.

This only finds them. Ending one is an operator's decision, with Kafka's own `kafka-transactions.sh`: its `abort` throws
away a transaction that was committed, if it was the COMMIT marker that got lost. Starting the worker again is no way
out: a producer under the same transactional id ends the old transaction with its own next marker in that partition,
and so commits what may have been aborted.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from streams.clients.log_scan import LogScan
from topology.topics import TopicSpec

Places = dict[tuple[str, int], tuple[int, int]]


@dataclass(frozen=True, order=True)
class HangingTransaction:
    """One partition that is held up.

    Attributes:
        topic: its name in Kafka.
        partition: in the topic.
        first_offset: of the transaction that does not end; committed readers stop before it.
        records_behind: how many offsets are written from there on.
    """

    topic: str
    partition: int
    first_offset: int
    records_behind: int


def find_hanging(scan: LogScan, specs: Iterable[TopicSpec], *, standing_for: timedelta) -> list[HangingTransaction]:
    """Find the partitions whose committed end stands still before their end.

    Blocks for `standing_for` when any partition has an open transaction, and no longer than a look at each partition
    otherwise.

    Args:
        scan: where to look.
        specs: the topics to look at.
        standing_for: how long the committed end must not have moved; more than the transaction timeout of whoever
            writes there, or a transaction that is merely slow is taken for a hanging one.

    Raises:
        UsageError: a topic does not exist.
        TransientError: the broker is away.
    """
    topics = list(specs)
    before = _held_up(scan, topics)
    if not before:
        return []
    time.sleep(standing_for.total_seconds())
    return sorted(
        HangingTransaction(topic, partition, stable, end - stable)
        for (topic, partition), (stable, end) in _held_up(scan, topics).items()
        if (was := before.get((topic, partition))) is not None and was[0] == stable
    )


def _held_up(scan: LogScan, specs: Iterable[TopicSpec]) -> Places:
    """Committed end and end of each partition where they differ."""
    found: Places = {}
    for spec in specs:
        committed, written = scan.bounds(spec), scan.bounds(spec, with_open=True)
        for partition, offsets in committed.items():
            if offsets.stop < written[partition].stop:
                found[scan.name(spec), partition] = offsets.stop, written[partition].stop
    return found
