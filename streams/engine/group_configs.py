"""How long a group waits for a silent member: under the new protocol the group says so, not its members."""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export these
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streams.engine import kafka
from streams.errors import RefusedError, TransientError
from streams.settings import KafkaSettings

_ANSWER_TIMEOUT_S = 10.0


def apply(settings: KafkaSettings, group_ids: Iterable[str]) -> None:
    """Set the session timeout of groups; does nothing under the classic protocol, or where it stands already.

    Several workers may do so at once. A group need not exist yet, and one that runs follows with its next heartbeat.
    Blocks, for seconds at worst.

    Raises:
        RefusedError: the brokers do not know the protocol, or forbid the timeout or its setting.
        TransientError: no broker answers.
    """
    if settings.group_protocol == "classic":
        return
    wanted = {
        "consumer.session.timeout.ms": str(kafka.session_timeout_ms(settings)),
        "consumer.heartbeat.interval.ms": str(kafka.heartbeat_interval_ms(settings)),
    }
    admin = AdminClient(kafka.connection(settings, client_id="memstream-groups"))
    groups = [ConfigResource(ResourceType.GROUP, group_id) for group_id in group_ids]
    described = admin.describe_configs(groups, request_timeout=_ANSWER_TIMEOUT_S)
    others = []
    for group, future in described.items():
        actual = _answer(future, settings, wanted)
        if any(name not in actual or actual[name].value != value for name, value in wanted.items()):
            others.append(group.name)
    if not others:
        return  # whoever has no right to set configs can let an operator do it
    changes = [
        ConfigResource(
            ResourceType.GROUP,
            group_id,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()
            ],
        )
        for group_id in others
    ]
    for future in admin.incremental_alter_configs(changes, request_timeout=_ANSWER_TIMEOUT_S).values():
        _answer(future, settings, wanted)


def _answer(future: Any, settings: KafkaSettings, wanted: dict[str, str]) -> Any:
    try:
        return future.result(_ANSWER_TIMEOUT_S + 1)
    except TimeoutError:
        raise TransientError("Kafka does not answer what the configs of the consumer groups are") from None
    except KafkaException as error:
        cause = error.args[0]
        if cause.retriable() or cause.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT):  # noqa: SLF001
            raise TransientError(f"configs of the consumer groups: {cause.str()}") from error
        configs = ",".join(f"{name}={value}" for name, value in wanted.items())
        raise RefusedError(
            f"the consumer groups cannot have a session timeout of {settings.session_timeout.total_seconds():g} s:"
            f" {cause.str()}. Lower group.consumer.min.session.timeout.ms and group.consumer.min.heartbeat.interval.ms"
            " of the brokers or raise MEMSTREAM_KAFKA_SESSION_TIMEOUT; where this worker has no right to set configs,"
            f" run: kafka-configs --alter --entity-type groups --entity-name GROUP --add-config {configs}. Brokers"
            " before 4.0 know only MEMSTREAM_KAFKA_GROUP_PROTOCOL=classic"
        ) from error
