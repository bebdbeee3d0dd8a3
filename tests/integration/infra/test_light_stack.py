"""A real light stack: Kafka and Redis start, keep their data, and leave nothing running."""

import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.native import kafka, state
from infra.native.commands import run
from infra.native.errors import PartError, PartUnknownError, StackConflictError
from infra.native.kafka import Kafka
from infra.native.redis import Redis
from infra.native.stack import Stack
from infra.native.state import Mode, StackState

pytestmark = pytest.mark.timeout(180)

NEXT_METADATA_VERSION = "4.3-IV0"
"""The first that the Kafka of our lock file does not yet call stable."""

MakeStack = Callable[[Mode], Stack]
Running = Callable[[], list[str]]


def publish(now: StackState, topic: str, value: bytes) -> None:
    """Create the topic and write one record."""
    assert now.kafka is not None
    servers = {"bootstrap.servers": now.kafka.bootstrap_servers}
    admin = AdminClient(servers)
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result(30)
    producer = Producer(servers)
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def read_first(now: StackState, topic: str, group: str) -> bytes | None:
    """Read one record as a member of a group, and commit."""
    assert now.kafka is not None
    consumer = Consumer(
        {
            "bootstrap.servers": now.kafka.bootstrap_servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    try:
        message = consumer.poll(30)
        if message is None:
            return None
        assert message.error() is None
        consumer.commit(message, asynchronous=False)
        return message.value()
    finally:
        consumer.close()


def cache(now: StackState) -> redis.Redis:
    """Return a client of the stack's Redis."""
    assert now.redis is not None
    return redis.Redis.from_url(now.redis.url)


def test_data_outlives_a_stop_and_ends_with_a_wipe(make_stack: MakeStack, running: Running, tmp_path: Path) -> None:
    """Records, keys and addresses are the same after down and up; wipe forgets all of them; nothing keeps running."""
    stack = make_stack("light")
    first = stack.up()
    assert (tmp_path / "light").stat().st_mode & 0o777 == 0o700
    publish(first, "kept", b"hello")
    with cache(first) as client:
        assert client.ping()
        client.set("kept", "hello")

    stopped = stack.down()
    assert stopped == msgspec.structs.replace(first, state="down")
    assert running() == []

    again = stack.up()
    assert again == first
    assert read_first(again, "kept", "readers") == b"hello"
    with cache(again) as client:
        assert client.get("kept") == b"hello"

    assert stack.down(wipe=True) == StackState()
    assert state.find(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stack.lock"]


def test_a_second_up_changes_nothing(make_stack: MakeStack, tmp_path: Path) -> None:
    """Up where the stack is up returns the same state, and the processes are the same."""
    stack = make_stack("light")
    first = stack.up()
    processes = [part.pid for part in stack.parts()]

    assert make_stack("light").up() == first == state.find(tmp_path)
    assert [part.pid for part in stack.parts()] == processes
    assert [part.condition for part in stack.parts()] == ["ready", "ready"]


def test_one_home_has_one_stack(make_stack: MakeStack) -> None:
    """The other mode is refused with what to do, as long as one is up."""
    make_stack("light").up()

    with pytest.raises(StackConflictError, match="a light stack is up") as raised:
        make_stack("full").up()

    assert "stack down" in raised.value.next_step


def test_taken_ports_are_replaced_and_the_data_is_kept(make_stack: MakeStack) -> None:
    """A stack whose ports were taken while it was down comes up on others with all it had, groups included."""
    stack = make_stack("light")
    first = stack.up()
    publish(first, "kept", b"hello")
    assert read_first(first, "kept", "readers") == b"hello"
    stack.down()

    ports = msgspec.json.decode(state.record_path(stack.home, "light").read_bytes())["ports"]
    with socket.create_server(("127.0.0.1", ports["kafka"])), socket.create_server(("", ports["kafka_controller"])):
        second = stack.up()

    assert second.kafka != first.kafka
    assert second.redis == first.redis
    assert read_first(second, "kept", "other readers") == b"hello"


def test_parts_can_be_killed_stopped_and_started(make_stack: MakeStack) -> None:
    """One part can die while the others go on, and comes back at its address, alone or with an up."""
    stack = make_stack("light")
    first = stack.up()

    stack.kill_part("redis")
    assert {part.name: part.condition for part in stack.parts()} == {"kafka": "ready", "redis": "dead"}
    assert stack.status().state == "up"
    stack.start_part("redis")
    with cache(first) as client:
        assert client.ping()

    stack.stop_part("kafka")
    assert {part.name: part.condition for part in stack.parts()} == {"kafka": "dead", "redis": "ready"}
    assert stack.up() == first
    assert [part.condition for part in stack.parts()] == ["ready", "ready"]

    with pytest.raises(PartUnknownError, match="no part weaviate"):
        stack.kill_part("weaviate")


def test_a_failed_start_stops_what_it_started(
    make_stack: MakeStack, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When one part ends while starting, the error has its last words and the others are stopped again."""
    monkeypatch.setattr(Redis, "command", lambda _self, _installed: ["sh", "-c", "echo no memory; exit 1"])

    with pytest.raises(PartError, match="redis ended while starting: no memory"):
        make_stack("light").up()

    assert running() == []
    found = state.find(tmp_path)
    assert found is not None
    assert found.state == "down"


def test_data_of_a_newer_kafka_is_named_and_a_wipe_helps(
    make_stack: MakeStack, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real broker that meets a later `metadata.version` than its own ends, and the error says why and what to do."""
    stack = make_stack("light")
    with monkeypatch.context() as newer:
        # A Kafka knows the version to come, and uses it when told that unstable ones will do.
        properties = Kafka.properties
        newer.setattr(Kafka, "properties", lambda self: properties(self) | {"unstable.feature.versions.enable": "true"})
        newer.setattr(
            kafka, "run", lambda words, **options: run([*words, "--release-version", NEXT_METADATA_VERSION], **options)
        )
        stack.up()
        stack.down()

    with pytest.raises(PartError, match="was written by a newer Kafka than the"):
        stack.up()
    assert running() == []
    stack.down(wipe=True)
    assert stack.up().state == "up"
