"""What provisioning asks of a Kafka cluster: read topics, create them, set their configs."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export these
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

ANSWER_TIMEOUT_S = 8.0
"""A broker that does not answer for so long is away."""
VISIBLE_TIMEOUT_S = 15.0
"""What a cluster was told and does not show after so long, it does not show without help."""
_POLL_S = 0.05

_AWAY_CODES = frozenset(
    {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN}  # noqa: SLF001  (public, spelled so)
)

_logger = logging.getLogger(__name__)


class ProvisionError(Exception):
    """The topics are not as they must be and cannot be made so.

    Attributes:
        next_step: what to do about it.
    """

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


AWAY_NEXT = "start it (`memstream dev`, `memstream stack up`) or name another with --bootstrap-servers"
"""What to do about a Kafka that does not answer."""


class KafkaAwayError(ProvisionError):
    """No broker answers."""


@dataclass(frozen=True, kw_only=True)
class TopicState:
    """A topic as it is, or as it should be.

    Attributes:
        partitions: how many.
        replication: copies of the partition that has the fewest.
        configs: settings; of an existing topic all, of a wanted one those that matter.
    """

    partitions: int
    replication: int
    configs: Mapping[str, str]


def _wait_until_none(lacking: Callable[[], list[str]], complaint: str) -> None:
    give_up_at = time.monotonic() + VISIBLE_TIMEOUT_S
    while names := lacking():
        if time.monotonic() > give_up_at:
            raise ProvisionError(
                f"{complaint}, after {VISIBLE_TIMEOUT_S:g} s: {', '.join(names)}",
                "look at the brokers' logs, then run it again",
            )
        time.sleep(_POLL_S)


class Cluster:
    """The few things we ask of a cluster's administration.

    Every call blocks, and raises `KafkaAwayError` when no broker answers in time.

    Args:
        bootstrap_servers: `host:port`, several separated by commas.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        # Without a logger of ours librdkafka writes failed connections to standard error.
        self._admin = AdminClient(
            {"bootstrap.servers": bootstrap_servers, "client.id": "memstream-topology"}, logger=_logger
        )

    def read(self, names: Iterable[str]) -> dict[str, TopicState]:
        """Those of the topics that exist, with all their configs."""
        partitions = self._partitions(names)
        return {
            name: TopicState(
                partitions=len(partitions[name]),
                replication=min(len(p.replicas) for p in partitions[name]),
                configs=configs,
            )
            for name, configs in self._configs(list(partitions)).items()
        }

    def wait_for_leaders(self, names: Iterable[str]) -> None:
        """Return when every partition of the topics has a leader, so that it can be written and read.

        Raises:
            ProvisionError: some have none after 15 s.
        """
        wanted = list(names)

        def without() -> list[str]:
            partitions = self._partitions(wanted)
            led = {name for name, parts in partitions.items() if all(p.leader >= 0 for p in parts)}
            return [name for name in wanted if name not in led]

        _wait_until_none(without, "without a leader")

    def wait_for_configs(self, configs: Mapping[str, Mapping[str, str]]) -> None:
        """Return when the cluster tells configs as they were set: brokers learn of them one after the other.

        Raises:
            ProvisionError: some are others after 15 s.
        """

        def others() -> list[str]:
            actual = self._configs(list(configs))
            return [name for name, settings in configs.items() if not settings.items() <= actual.get(name, {}).items()]

        _wait_until_none(others, "set, but the brokers tell other configs")

    def create(self, topics: Mapping[str, TopicState]) -> None:
        """Create topics; those that another process created meanwhile are fine."""
        requests = [
            NewTopic(name, state.partitions, state.replication, config=dict(state.configs))
            for name, state in topics.items()
        ]
        for name, future in self._admin.create_topics(requests, request_timeout=ANSWER_TIMEOUT_S).items():
            self._settle(future, f"cannot create {name}", fine=KafkaError.TOPIC_ALREADY_EXISTS)

    def alter(self, configs: Mapping[str, Mapping[str, str]]) -> None:
        """Set configs of topics and leave all their others as they are.

        Args:
            configs: topic to setting to value.
        """
        if not configs:
            return
        resources = [
            ConfigResource(
                ResourceType.TOPIC,
                topic,
                incremental_configs=[
                    ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
                    for setting, value in settings.items()
                ],
            )
            for topic, settings in configs.items()
        ]
        futures = self._admin.incremental_alter_configs(resources, request_timeout=ANSWER_TIMEOUT_S)
        for resource, future in futures.items():
            self._settle(future, f"cannot set configs of {resource.name}")

    def _partitions(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """The partitions of those topics that exist."""
        try:
            metadata = self._admin.list_topics(timeout=ANSWER_TIMEOUT_S).topics
        except KafkaException as error:
            raise self._away(error) from None
        return {
            name: list(metadata[name].partitions.values())
            for name in names
            if name in metadata and metadata[name].partitions
        }

    def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(resources, request_timeout=ANSWER_TIMEOUT_S)
        configs = {}
        for resource, future in futures.items():
            # Brokers learn of a new topic one after the other: one that does not know it yet says so.
            entries = self._settle(
                future, f"cannot read configs of {resource.name}", fine=KafkaError.UNKNOWN_TOPIC_OR_PART
            )
            if entries is not None:
                configs[resource.name] = {name: entry.value for name, entry in entries.items()}
        return configs

    def _settle(self, future: Any, failure: str, *, fine: int | None = None) -> Any:
        try:
            return future.result(ANSWER_TIMEOUT_S + 1)
        except TimeoutError as error:
            raise self._away(error) from None
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() == fine:
                return None
            if cause.code() in _AWAY_CODES:
                raise self._away(error) from None
            raise ProvisionError(
                f"{failure}: {cause.str()}", "mend what Kafka complains about, then run it again"
            ) from None

    def _away(self, error: Exception) -> KafkaAwayError:
        cause = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
        return KafkaAwayError(
            f"Kafka at {self._servers} does not answer: {cause}",
            AWAY_NEXT,
        )
