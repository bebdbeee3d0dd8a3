"""Makes a cluster's topics what the topic table says, and explains where they are not.

`plan` compares and explains, `check` asks a cluster and plans, `apply` also mends: it creates what is missing and sets
differing configs. Nothing here ever changes a partition count, deletes a topic or touches one of another namespace.

All calls block, for seconds at worst; from an event loop, use `asyncio.to_thread`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from topology.cluster import Cluster, KafkaAwayError, ProvisionError, TopicState
from topology.topics import TOPICS

__all__ = [
    "Difference",
    "DifferenceKind",
    "KafkaAwayError",
    "ProvisionError",
    "Remedy",
    "TopicState",
    "apply",
    "check",
    "plan",
    "wanted_topics",
]

_LONGEST_NAME = 249
"""Kafka's own limit (`org.apache.kafka.common.internals.Topic`)."""

_COUNT_IS_FIXED = (
    "the count is fixed for the life of the log: with another one keys move between partitions, which breaks the order "
    "of a user's events and the replay of the log"
)

CONFIG_MEANINGS: Mapping[str, str] = {
    "cleanup.policy": "it decides whether old records are kept, compacted or deleted",
    "retention.ms": "it decides how far back a replay can start",
    "retention.bytes": "it decides how far back a replay can start",
    "max.message.bytes": "records between the two sizes are refused, or let through where they should not be",
    "delete.retention.ms": "a reader slower than this misses deletions",
}


class DifferenceKind(StrEnum):
    """In what a topic differs."""

    MISSING = "missing"
    CONFIG = "config"
    PARTITIONS = "partitions"
    REPLICATION = "replication"


class Remedy(StrEnum):
    """What `apply` does about a difference."""

    CREATE = "create"
    ALTER = "alter"
    REFUSE = "refuse"
    """Raises `ProvisionError` and changes nothing: no worker may run like this."""
    WARN = "warn"
    """Leaves it, since everything works; only an operator can weigh it."""


_REMEDIES = {
    DifferenceKind.MISSING: Remedy.CREATE,
    DifferenceKind.CONFIG: Remedy.ALTER,
    DifferenceKind.PARTITIONS: Remedy.REFUSE,
    DifferenceKind.REPLICATION: Remedy.WARN,
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing in which a topic differs from the table.

    Attributes:
        topic: its name in Kafka.
        kind: in what it differs.
        setting: which config; empty for other kinds.
        actual: what is; empty where nothing is.
        wanted: what should be.
        explanation: what it means and what to do, in words.
    """

    topic: str
    kind: DifferenceKind
    setting: str = ""
    actual: str = ""
    wanted: str
    explanation: str

    @property
    def remedy(self) -> Remedy:
        """What `apply` does about it."""
        return _REMEDIES[self.kind]


def wanted_topics(*, namespace: str, partitions: int, replication: int) -> dict[str, TopicState]:
    """What the topic table asks of a cluster, by name in Kafka.

    Raises:
        ProvisionError: Kafka knows no such topic names or numbers.
    """
    if not re.fullmatch(r"[a-zA-Z0-9._-]*", namespace):
        raise ProvisionError(
            f"namespace {namespace!r} cannot stand in a topic name", "use letters, digits, dots, dashes and underscores"
        )
    too_long = [spec.in_namespace(namespace) for spec in TOPICS if len(spec.in_namespace(namespace)) > _LONGEST_NAME]
    if too_long:
        raise ProvisionError(
            f"{too_long[0]} is longer than Kafka's {_LONGEST_NAME} characters", "shorten the namespace"
        )
    if partitions < 1 or replication < 1:
        raise ProvisionError(
            f"{partitions} partitions with {replication} copies cannot be", "both are whole numbers from 1"
        )
    return {
        spec.in_namespace(namespace): TopicState(partitions=partitions, replication=replication, configs=spec.configs())
        for spec in TOPICS
    }


def plan(actual: Mapping[str, TopicState], wanted: Mapping[str, TopicState]) -> list[Difference]:
    """Every difference between a cluster and what is wanted of it, explained, in the order of the wanted topics.

    Topics and configs that nobody asked for are the cluster's own business.
    """
    return [difference for topic, target in wanted.items() for difference in _compare(topic, actual.get(topic), target)]


def check(bootstrap_servers: str, *, namespace: str, partitions: int, replication: int) -> list[Difference]:
    """Compare a cluster's topics with the table and change nothing.

    Raises:
        KafkaAwayError: no broker answers.
        ProvisionError: the namespace or the numbers cannot be.
    """
    wanted = wanted_topics(namespace=namespace, partitions=partitions, replication=replication)
    return plan(Cluster(bootstrap_servers).read(wanted), wanted)


def apply(
    bootstrap_servers: str, *, namespace: str, partitions: int, replication: int, alter_configs: bool = True
) -> list[Difference]:
    """Create missing topics and set differing configs; when this returns, every topic can be written and read.

    It may run any number of times, in several processes at once.

    Args:
        bootstrap_servers: `host:port`, several separated by commas.
        namespace: put before every topic name.
        partitions: of every topic; a topic that has another number is refused, and then nothing is changed.
        replication: copies of created topics. Those of existing ones stay as they are.
        alter_configs: set differing configs; without it an operator's own choice of, say, retention stays.

    Returns:
        The differences that were found before; each says by its `remedy` what was done.

    Raises:
        KafkaAwayError: no broker answers.
        ProvisionError: the cluster refused, or has one of the topics with another partition count.
    """
    wanted = wanted_topics(namespace=namespace, partitions=partitions, replication=replication)
    cluster = Cluster(bootstrap_servers)
    differences = plan(cluster.read(wanted), wanted)
    _refuse(differences)
    missing = [d.topic for d in differences if d.remedy is Remedy.CREATE]
    if missing:
        cluster.create({topic: wanted[topic] for topic in missing})
    cluster.wait_for_leaders(wanted)
    if missing:
        # Another process may have been first, with other numbers: look again at what is there now.
        _refuse(plan(cluster.read(wanted), wanted))
    if alter_configs:
        configs: dict[str, dict[str, str]] = {}
        for d in differences:
            if d.remedy is Remedy.ALTER:
                configs.setdefault(d.topic, {})[d.setting] = d.wanted
        cluster.alter(configs)
        cluster.wait_for_configs(configs)
    return differences


def _compare(topic: str, actual: TopicState | None, wanted: TopicState) -> list[Difference]:
    if actual is None:
        return [
            Difference(
                topic=topic,
                kind=DifferenceKind.MISSING,
                wanted=f"{wanted.partitions} partitions",
                explanation="the topic does not exist; `memstream topology apply` creates it",
            )
        ]
    differences = []
    if actual.partitions != wanted.partitions:
        differences.append(
            Difference(
                topic=topic,
                kind=DifferenceKind.PARTITIONS,
                actual=str(actual.partitions),
                wanted=str(wanted.partitions),
                explanation=f"there are {actual.partitions} partitions, not {wanted.partitions}; {_COUNT_IS_FIXED}. "
                f"Set kafka.partitions={actual.partitions}, or begin anew in another namespace",
            )
        )
    if actual.replication != wanted.replication:
        differences.append(
            Difference(
                topic=topic,
                kind=DifferenceKind.REPLICATION,
                actual=str(actual.replication),
                wanted=str(wanted.replication),
                explanation=f"a record has {actual.replication} copies, not {wanted.replication}; all works, only the "
                "number of brokers that may fail is another. Kafka's own kafka-reassign-partitions changes it, or set "
                "kafka.replication",
            )
        )
    differences += [
        Difference(
            topic=topic,
            kind=DifferenceKind.CONFIG,
            setting=setting,
            actual=actual.configs.get(setting, ""),
            wanted=value,
            explanation=f"{setting} is {actual.configs.get(setting, 'not set')}, not {value}: "
            f"{CONFIG_MEANINGS.get(setting, 'the topic table asks for it')}; `memstream topology apply` sets it",
        )
        for setting, value in wanted.configs.items()
        if _normal(actual.configs.get(setting)) != _normal(value)
    ]
    return differences


def _normal(value: str | None) -> list[str] | None:
    """Lists such as `compact,delete` have no order."""
    return None if value is None else sorted(part.strip() for part in value.split(","))


def _refuse(differences: Iterable[Difference]) -> None:
    refused = [d for d in differences if d.remedy is Remedy.REFUSE]
    if refused:
        first, more = refused[0], len(refused) - 1
        raise ProvisionError(
            f"{first.topic}{f' (and {more} more)' if more else ''} has {first.actual} partitions, not {first.wanted}; "
            f"{_COUNT_IS_FIXED}",
            f"set kafka.partitions={first.actual}, or begin anew in another namespace",
        )
