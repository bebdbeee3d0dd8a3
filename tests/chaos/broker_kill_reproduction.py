"""Kills Kafka inside transactions, starts it again, names the partitions that hang: run by hand for a new Kafka.

    python -m tests.chaos.broker_kill_reproduction --rounds 6
    python -m tests.chaos.broker_kill_reproduction --rounds 6 --inside commit

Kafka 4.3.1 fails it (KAFKA-20734): while the broker starts it has no leader yet for its partitions; its
transaction coordinator takes them for deleted, skips their COMMIT or ABORT markers, and closes the transactions all the
same. Committed readers then wait for ever (last stable offset < high watermark); and when the same transactional id
writes to such a partition again, its next marker ends the old transaction too: what was aborted appears as committed.
4.1.1 and 4.2.2 pass. The broker says "Couldn't find leader endpoint for partitions" (at INFO) for what it skips.

`--inside open` leaves transactions open, 8 s old: during the start the coordinator finds that they have timed out and
aborts them. `--inside commit` kills amid commits: those that were decided, though not yet marked, get their markers
during the start. No setting of the broker helps there, and what hangs is a commit its client may have been told of.

It uses bare clients and none of our engine. Exit code 1 when a partition hangs.
"""

import argparse
import logging
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not exported by name

from infra.native.stack import Stack

PARTITIONS = 4
TRANSACTION_TIMEOUT_S = 10.0
OPEN_FOR_S = 8.0
"""With the seconds that a start takes, they are older than their timeout before the broker has its leaders."""
COMMITS_FOR_S = 2.0
SETTLED_AFTER_S = TRANSACTION_TIMEOUT_S + 12.0
"""By then the coordinator, which looks every second, has ended whatever it knows of."""

_quiet = logging.getLogger("memstream.tests.reproduction")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


@dataclass(frozen=True)
class Round:
    """What one kill and restart left behind."""

    away_s: float
    hanging: dict[int, tuple[int, int]]


class Reproduction:
    """A stack of its own with transactional producers.

    Args:
        stack: runs.
        producers: how many, each writes to all partitions.
    """

    def __init__(self, stack: Stack, *, producers: int) -> None:
        state = stack.status()
        assert state.kafka is not None
        self._stack = stack
        self._client: dict[str, Any] = {"bootstrap.servers": state.kafka.bootstrap_servers, "logger": _quiet}
        self._producers = producers

    def round(self, number: int, *, inside: str, orderly: bool) -> Round:
        """One topic, one kill, one restart."""
        topic = f"round-{number}"
        admin = AdminClient(self._client)
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(20)
        producers = [self._started(f"{topic}-{index}", topic) for index in range(self._producers)]
        ended = threading.Event()
        if inside == "open":
            for producer in producers:
                begin(producer, topic)
                producer.flush(10)
            time.sleep(OPEN_FOR_S)
        else:
            for producer in producers:
                threading.Thread(target=commit_until, args=(producer, topic, ended), daemon=True).start()
            time.sleep(COMMITS_FOR_S)
        since_s = time.monotonic()
        (self._stack.stop_part if orderly else self._stack.kill_part)("kafka")
        self._stack.start_part("kafka")
        away_s = time.monotonic() - since_s
        ended.set()
        return Round(away_s, self._hanging(topic))

    def _started(self, transactional_id: str, topic: str) -> Producer:
        producer = Producer(
            self._client
            | {
                "transactional.id": transactional_id,
                "transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000),
                "retry.backoff.ms": 5,
            }
        )
        producer.init_transactions(60)
        begin(producer, topic)
        producer.commit_transaction(20)
        return producer

    def _hanging(self, topic: str) -> dict[int, tuple[int, int]]:
        """Last stable offset and end of the partitions where they differ though all transactions must have ended."""
        committed = Consumer(self._client | {"group.id": "reproduction", "isolation.level": "read_committed"})
        all_records = Consumer(self._client | {"group.id": "reproduction", "isolation.level": "read_uncommitted"})
        try:
            deadline_s = time.monotonic() + SETTLED_AFTER_S
            time.sleep(3)  # what the clients still have in flight
            while True:
                hanging = {}
                for partition in range(PARTITIONS):
                    place = TopicPartition(topic, partition)
                    stable = committed.get_watermark_offsets(place, timeout=10, cached=False)
                    end = all_records.get_watermark_offsets(place, timeout=10, cached=False)
                    assert stable is not None
                    assert end is not None
                    if stable[1] < end[1]:
                        hanging[partition] = (stable[1], end[1])
                if not hanging or time.monotonic() > deadline_s:
                    return hanging
                time.sleep(1)
        finally:
            committed.close()
            all_records.close()


def begin(producer: Producer, topic: str) -> None:
    """Open a transaction with one record in every partition."""
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(topic, value=b"record", partition=partition)


def commit_until(producer: Producer, topic: str, ended: threading.Event) -> None:
    """One transaction after the other, until told to end or until one fails."""
    try:
        while not ended.is_set():
            begin(producer, topic)
            producer.commit_transaction(TRANSACTION_TIMEOUT_S)
    except KafkaException:
        return


def main() -> int:
    """Run the rounds and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--producers", type=int, default=8)
    parser.add_argument("--inside", choices=("open", "commit"), default="open", help="where the kill hits")
    parser.add_argument("--orderly", action="store_true", help="SIGTERM instead of SIGKILL")
    options = parser.parse_args()
    hung = 0
    with tempfile.TemporaryDirectory() as home:
        stack = Stack("light", home=Path(home))
        try:
            stack.up()
            reproduction = Reproduction(stack, producers=options.producers)
            for number in range(options.rounds):
                seen = reproduction.round(number, inside=options.inside, orderly=options.orderly)
                hung += bool(seen.hanging)
                sys.stdout.write(
                    f"round {number}: away {seen.away_s:.1f} s; (stable, end) of what hangs {seen.hanging}\n"
                )
                sys.stdout.flush()
        finally:
            stack.down(wipe=True)
    sys.stdout.write(f"{hung} of {options.rounds} rounds left partitions hanging\n")
    return 1 if hung else 0


if __name__ == "__main__":
    sys.exit(main())
