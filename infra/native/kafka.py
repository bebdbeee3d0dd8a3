"""Apache Kafka as one native process: broker and controller in one, KRaft, on loopback."""

import base64
import logging
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.native import processes
from infra.native.commands import CommandError, run
from infra.native.errors import PartError
from infra.native.kafka_jars import read_lock
from infra.native.part import Installation, Part

# librdkafka prints every failed connection to stderr unless it has a logger.
_quiet = logging.getLogger("memstream.infra.kafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False

HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")

QUICK = ("-XX:TieredStopAtLevel=1",)
"""The first compiler only. A native broker shares a laptop's cores and often lives for minutes: the optimizing compiler
took a third of the broker's processor time for minutes, and gave nothing that showed (`make bench-pipeline`, 20,000 to
60,000 turns: 100 us a turn with it, 60 without)."""

LOG4J = """\
rootLogger.level = WARN
rootLogger.appenderRef.stdout.ref = stdout
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
logger.raft.name = kafka.server.KafkaRaftServer
logger.raft.level = INFO
"""


_NEWER_DATA = re.compile(r"UnsupportedVersionException: Can't read version|this controller only supports versions")
"""What Kafka 4.2.2 says of metadata that 4.3.1 has written: of a record's version, or of `metadata.version` alone."""


class Kafka(Part):
    """The broker."""

    name = "kafka"
    port_widths: ClassVar = {"kafka": 1, "kafka_controller": 1}
    stop_within = timedelta(seconds=30)

    @property
    def address(self) -> str:
        """The bootstrap server."""
        return f"127.0.0.1:{self.ports['kafka']}"

    def prepare(self, installed: Installation) -> None:
        """Write the configuration; format the log folder once."""
        super().prepare(installed)
        self._log4j.write_text(LOG4J)
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in self.properties().items()))
        if (self._data / "meta.properties").exists():
            return
        format_once = ["kafka.tools.StorageTool", "format", "--standalone", "-t", _cluster_id(), "-c", self._properties]
        try:
            run([*self._java(installed), *format_once], env=self.env())
        except CommandError as error:
            raise PartError(
                f"Kafka's log folder could not be formatted: {error}", "run: memstream stack down --wipe, then up"
            ) from error

    def command(self, installed: Installation) -> list[object]:
        """Return the broker's command line."""
        return [*self._java(installed), "kafka.Kafka", self._properties]

    def is_ready(self) -> bool:
        """Ask for metadata: an open port alone is not readiness."""
        admin = AdminClient({"bootstrap.servers": self.address, "socket.timeout.ms": 2000}, logger=_quiet)
        try:
            return bool(admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False
        finally:
            # A client that ends looks for signals and leaves their exception to whatever runs next, which then dies of
            # a SystemError instead of a KeyboardInterrupt (confluent-kafka 2.x: 3 of 300 interrupts here did).
            with processes.uninterrupted():
                del admin

    def explained(self, log: str) -> PartError | None:
        """Name data of a newer Kafka, which the broker meets with stack traces of many kinds."""
        if not _NEWER_DATA.search(log):
            return None
        return PartError(
            f"the data in {self.folder} was written by a newer Kafka than the {read_lock().version} that runs here, "
            "which cannot read it",
            "go on with the memstream that wrote it; or start afresh, which loses all data of this stack: "
            "memstream stack down --wipe, then up",
        )

    def properties(self) -> dict[str, str | int]:
        """Return the server properties."""
        controller = f"127.0.0.1:{self.ports['kafka_controller']}"
        listeners = f"PLAINTEXT://{self.address},CONTROLLER://{controller}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": controller,
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._data),
            # Topics are declared by the topology; a misspelt name must fail.
            "auto.create.topics.enable": "false",
            # One node can hold one replica.
            "default.replication.factor": 1,
            "min.insync.replicas": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # The default of 50 each makes the first group join slow on small disks.
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.num.partitions": 4,
            "group.initial.rebalance.delay.ms": 0,
            # Groups of the new protocol say how soon they miss a member within the broker's bounds. By default a broker
            # allows no less than 45 s and a heartbeat every 5 s; these are the bounds that classic groups have.
            "group.consumer.min.session.timeout.ms": 6000,
            "group.consumer.min.heartbeat.interval.ms": 1000,
            # A dead producer's transaction blocks readers of committed records until it is aborted: look every second,
            # not every ten.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            # The default of 7 days would forget how far a stack had read that was down over a holiday.
            "offsets.retention.minutes": 525_600,
        }

    @property
    def _data(self) -> Path:
        return self.folder / "log"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _log4j(self) -> Path:
        return self.folder / "log4j2.properties"

    def _java(self, installed: Installation) -> list[object]:
        log4j = f"-Dlog4j2.configurationFile={self._log4j}"
        return [installed.java, *HEAP, *QUICK, log4j, "-cp", f"{installed.kafka_jars}/*"]


def _cluster_id() -> str:
    """Make 128 random bits in URL-safe base64, 22 characters; not led by a dash, which would read as an option."""
    while (made := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return made
