"""What Kafka is started with."""

import base64
import signal
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.native import kafka
from infra.native.kafka import Kafka, _cluster_id


def test_kafka_listens_on_loopback_only(tmp_path: Path) -> None:
    """Every listener and every advertised address is on 127.0.0.1: the broker asks nobody for a password."""
    properties = Kafka(tmp_path, {"kafka": 20001, "kafka_controller": 20002}).properties()

    for key in ("listeners", "advertised.listeners"):
        addresses = [listener.split("://")[1] for listener in str(properties[key]).split(",")]
        assert addresses == ["127.0.0.1:20001", "127.0.0.1:20002"]


def test_a_cluster_id_is_22_characters_of_url_safe_base64() -> None:
    """Kafka takes 16 bytes in that form, and a leading dash would read as an option."""
    for made in (_cluster_id() for _ in range(200)):
        assert len(made) == 22
        assert len(base64.urlsafe_b64decode(made + "==")) == 16
        assert not made.startswith("-")


def test_an_interrupt_while_the_asking_client_ends_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C that comes while the client of a readiness check is taken down interrupts the command afterwards."""
    asked = False

    class Interrupted(AdminClient):
        def list_topics(self, topic: str | None = None, timeout: float = -1) -> object:
            nonlocal asked
            asked = True
            raise KafkaException

        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(kafka, "AdminClient", Interrupted)
    broker = Kafka(tmp_path, {"kafka": 1, "kafka_controller": 2})

    with pytest.raises(KeyboardInterrupt):
        broker.is_ready()

    assert asked
