"""How our clients talk to Kafka: one place for connection settings and for librdkafka's own log lines."""

import logging
from typing import Any

from confluent_kafka import KafkaError

from streams.settings import KafkaSettings

PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001  (librdkafka's own codes)
"""How records are reported that were thrown away with their transaction."""

CLIENT_LOG = logging.getLogger("memstream.kafka")
"""librdkafka's lines go here instead of to standard error, where a broker that is down would print thousands.

Silent unless a worker's logging opens it: a command says by itself, once, what is wrong."""
CLIENT_LOG.addHandler(logging.NullHandler())
CLIENT_LOG.propagate = False


class _OncePerSpan(logging.Filter):
    """Lets a line of one kind pass once in a while: a broker that is down is one line, not thousands."""

    def __init__(self, span_s: float) -> None:
        super().__init__()
        self._span_s = span_s
        self._passed_at_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # The kind is the first word of the message, such as FAIL or GETPID; every client of a process counts as one.
        kind = str(record.msg).partition(" ")[0][:40]
        if record.created - self._passed_at_s.get(kind, 0.0) < self._span_s:
            return False
        self._passed_at_s[kind] = record.created
        return True


CLIENT_LOG.addFilter(_OncePerSpan(10.0))


def connection(settings: KafkaSettings, *, client_id: str) -> dict[str, Any]:
    """What every client needs.

    Args:
        settings: where the log is.
        client_id: shown in the broker's logs and quotas.
    """
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": client_id,
        "logger": CLIENT_LOG,
        # The reconnect backoff doubles up to this; the default of 10 s would make a short outage long.
        "reconnect.backoff.max.ms": 1000,
        # With the default, a client whose only broker died starts over and forgets the group's coordinator:
        # `send_offsets_to_transaction` then never returned (librdkafka 2.16, its issues 5456 and 5511).
        "metadata.recovery.strategy": "none",
    }


def producer(settings: KafkaSettings, *, client_id: str) -> dict[str, Any]:
    """An idempotent producer that places records as every other client of ours does."""
    return connection(settings, client_id=client_id) | {
        "enable.idempotence": True,
        "partitioner": "murmur2",
        "compression.type": "lz4",
        "message.max.bytes": 16 * 1024 * 1024,
    }


def transactional_producer(settings: KafkaSettings, *, client_id: str, transactional_id: str) -> dict[str, Any]:
    """The producer of one stage's transactions."""
    return producer(settings, client_id=client_id) | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": 10_000,
        # A batch is produced in one go and flushed by its commit: waiting for more records only costs time.
        "linger.ms": 0,
        # The broker answers CONCURRENT_TRANSACTIONS while the last commit's markers are written; with the default of
        # 100 ms every second commit waits that long (measured: 44 instead of 165 transactions/s).
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 1000,
    }


GATHERS: dict[str, Any] = {"fetch.min.bytes": 64 * 1024, "fetch.wait.max.ms": 50}
"""For a `stage_consumer` whose topic has many writers, each a few records at a time: the broker answers when there is
something to take, or after so long, and not each time that somebody writes. With 4,300 turns/s in 200 requests/s two
such consumers cost the broker 7-13 us a turn instead of 20, and get 77 chunks/s each instead of 340."""


def stage_consumer(settings: KafkaSettings, *, client_id: str, group_id: str, instance_id: str) -> dict[str, Any]:
    """The consumer of one stage: committed records only, progress only through transactions."""
    membership = _consumer_membership if settings.group_protocol == "consumer" else _classic_membership
    return (
        connection(settings, client_id=client_id)
        | membership(settings, instance_id)
        | {
            "group.id": group_id,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # A position that the log no longer has must be loud: jumping would lose or repeat silently.
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            # Fetch ahead little and often: our own limit of bytes in flight is the one that counts, and the default
            # backoff of 1 s on a full queue would show up as latency.
            "queued.max.messages.kbytes": 16 * 1024,
            "fetch.queue.backoff.ms": 20,
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 50,
        }
    )


def _classic_membership(settings: KafkaSettings, instance_id: str) -> dict[str, Any]:
    return {
        "group.protocol": "classic",
        "group.instance.id": instance_id,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_timeout_ms(settings),
        "heartbeat.interval.ms": heartbeat_interval_ms(settings),
    }


def _consumer_membership(_: KafkaSettings, __: str) -> dict[str, Any]:
    # No instance id: under this protocol the broker refuses the successor of a dead member for as long as its session
    # lasts (UNRELEASED_INSTANCE_ID), and librdkafka calls that fatal: a killed worker could not come back. Nor do the
    # timeouts stand here: librdkafka refuses them, the group has them (`streams.engine.group_configs`).
    return {"group.protocol": "consumer"}


def session_timeout_ms(settings: KafkaSettings) -> int:
    """After so long without a heartbeat a member is taken for dead."""
    return int(settings.session_timeout.total_seconds() * 1000)


def heartbeat_interval_ms(settings: KafkaSettings) -> int:
    """Five heartbeats a session: with Kafka's customary three, two lost ones already leave no second to spare."""
    return session_timeout_ms(settings) // 5


def group_positions(settings: KafkaSettings, *, client_id: str, group_id: str) -> dict[str, Any]:
    """A consumer that never joins: it asks where the group stands, once no transaction is open on its positions."""
    return connection(settings, client_id=client_id) | {
        "group.id": group_id,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
    }


ENDS_SOON: dict[str, Any] = {"fetch.wait.max.ms": 5}
"""For a `log_reader` that stops at a known end: behind a transaction's marker only an empty fetch tells that there is
nothing more, and the broker holds it back for so long (measured: 110 ms a partition and topic otherwise)."""


def log_reader(settings: KafkaSettings, *, client_id: str) -> dict[str, Any]:
    """A consumer without a group that is told where to read; its group id is never used to commit."""
    return connection(settings, client_id=client_id) | {
        "group.id": f"{settings.namespace}memstream.reader",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
        "fetch.queue.backoff.ms": 20,
    }
