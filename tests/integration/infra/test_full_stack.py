"""A real full stack: Weaviate beside Kafka and Redis. The first run on a machine builds it, which takes minutes."""

import contextlib
import http.client
import socket
from collections.abc import Callable

import msgspec
import pytest
import weaviate
from weaviate.classes.config import Configure
from weaviate.classes.init import Auth

from infra.native import state
from infra.native.stack import Stack
from infra.native.state import Mode, StackState, WeaviateAddress

pytestmark = pytest.mark.timeout(1800)

MakeStack = Callable[[Mode], Stack]


def store_of(now: StackState) -> WeaviateAddress:
    """Return the stack's store."""
    assert isinstance(now.store, WeaviateAddress)
    return now.store


def connect(now: StackState) -> weaviate.WeaviateClient:
    """Connect as a user of the state would, over REST and gRPC."""
    store = store_of(now)
    http_host, _, http_port = store.http.partition(":")
    grpc_host, _, grpc_port = store.grpc.partition(":")
    return weaviate.connect_to_custom(
        http_host=http_host,
        http_port=int(http_port),
        http_secure=False,
        grpc_host=grpc_host,
        grpc_port=int(grpc_port),
        grpc_secure=False,
        auth_credentials=Auth.api_key(store.api_key),
    )


def test_objects_outlive_a_stop_a_kill_and_other_ports(make_stack: MakeStack) -> None:
    """Weaviate answers with its key, and has its objects after down and up, after a kill, and on other ports."""
    stack = make_stack("full")
    first = stack.up()
    assert [part.condition for part in stack.parts()] == ["ready", "ready", "ready"]
    with connect(first) as client:
        client.collections.create("Kept", vector_config=Configure.Vectors.self_provided())
        kept = client.collections.use("Kept").data.insert({}, vector=[1.0, 0.0])

    stack.down()
    assert stack.up() == first
    with connect(first) as client:
        assert client.collections.use("Kept").query.fetch_object_by_id(kept) is not None

    stack.kill_part("weaviate")
    assert {part.name: part.condition for part in stack.parts()}["weaviate"] == "dead"
    stack.start_part("weaviate")
    with connect(first) as client:
        assert client.collections.use("Kept").query.fetch_object_by_id(kept) is not None

    stack.down()
    ports = msgspec.json.decode(state.record_path(stack.home, "full").read_bytes())["ports"]
    taken = [port for name, port in ports.items() if name.startswith("weaviate")]
    with contextlib.ExitStack() as servers:
        for port in taken:
            servers.enter_context(socket.create_server(("", port)))
        moved = stack.up()
    assert store_of(moved).api_key == store_of(first).api_key
    assert store_of(moved).http != store_of(first).http
    with connect(moved) as client:
        assert client.collections.use("Kept").query.fetch_object_by_id(kept) is not None


def test_nobody_gets_in_without_the_key(make_stack: MakeStack) -> None:
    """A request without the key, or with another one, is refused."""
    stack = make_stack("full")
    store = store_of(stack.up())

    def status(key: str | None) -> int:
        connection = http.client.HTTPConnection(store.http, timeout=10)
        try:
            connection.request("GET", "/v1/schema", headers={"Authorization": f"Bearer {key}"} if key else {})
            return connection.getresponse().status
        finally:
            connection.close()

    assert (status(None), status("wrong"), status(store.api_key)) == (401, 401, 200)
