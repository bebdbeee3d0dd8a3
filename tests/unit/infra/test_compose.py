"""The Compose file is valid, and sets what the native stack sets."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.native import kafka_jars, weaviate_build
from infra.native.kafka import Kafka
from infra.native.part import Installation
from infra.native.redis import Redis
from infra.native.weaviate import Weaviate

COMPOSE = Path(__file__).parents[3] / "infra" / "compose.yaml"
SCHEMA = Path(__file__).parent / "compose_spec" / "compose-spec.json"

# What depends on where the broker runs, and so differs between the two.
PLACE = {
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "log.dirs",
    "controller.quorum.bootstrap.servers",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Read the Compose file."""
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return read


def schema_validator() -> jsonschema.Draft201909Validator:
    """Return a validator of the Compose Specification.

    The schema is of 2021. The specification got the top-level `name` since; nothing else that we use is newer.
    """
    schema = json.loads(SCHEMA.read_text())
    schema["properties"]["name"] = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"}
    return jsonschema.Draft201909Validator(schema)


def test_the_file_keeps_to_the_schema(compose: dict[str, Any]) -> None:
    """The Compose Specification's own schema accepts the file."""
    schema_validator().validate(compose)


def test_the_schema_can_refuse(compose: dict[str, Any]) -> None:
    """A misspelt key is refused, so that the test above means something."""
    broken = compose | {"services": {"kafka": {"image": "x", "healthcheck": {"tests": []}}}}

    with pytest.raises(jsonschema.ValidationError):
        schema_validator().validate(broken)


def test_every_port_is_on_loopback_and_every_service_is_healthy_or_not(compose: dict[str, Any]) -> None:
    """No service is reachable from other machines, and all of them have a health check."""
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["healthcheck"]["test"]


def test_the_versions_are_those_of_the_native_stack(compose: dict[str, Any]) -> None:
    """Both ways to start the stack start the same Kafka and the same Weaviate."""
    images = {name: service["image"] for name, service in compose["services"].items()}

    assert images["kafka"] == f"apache/kafka:{kafka_jars.read_lock().version}"
    assert images["weaviate"].removesuffix(weaviate_build.read_lock().version[1:]) == "semitechnologies/weaviate:"


def test_kafka_is_set_up_alike(compose: dict[str, Any], tmp_path: Path) -> None:
    """Every property of the native broker that does not say where it runs is set to the same value."""
    native = Kafka(tmp_path, {"kafka": 1, "kafka_controller": 2}).properties()
    env = compose["services"]["kafka"]["environment"]
    composed = {key: env.get(f"KAFKA_{key.upper().replace('.', '_')}") for key in native.keys() - PLACE}

    assert composed == {key: str(native[key]) for key in native.keys() - PLACE}


def test_redis_is_set_up_alike(compose: dict[str, Any], tmp_path: Path) -> None:
    """Durability and eviction are those of the native server."""
    installed = Installation(java=tmp_path, kafka_jars=tmp_path, redis_server=tmp_path, weaviate=None)
    native = [str(word) for word in Redis(tmp_path, {"redis": 1}).command(installed)]
    composed = compose["services"]["redis"]["command"]

    for name in ("--appendonly", "--appendfsync", "--save", "--maxmemory", "--maxmemory-policy"):
        assert composed[composed.index(name) + 1] == native[native.index(name) + 1]


def test_weaviate_is_set_up_alike(compose: dict[str, Any], tmp_path: Path) -> None:
    """Every setting of the native server that the Compose file names has the same value, but paths and the key."""
    native = Weaviate(tmp_path, dict.fromkeys(Weaviate.port_widths, 1), "secret").settings()
    composed = compose["services"]["weaviate"]["environment"]
    place = {"PERSISTENCE_DATA_PATH", "BACKUP_FILESYSTEM_PATH", "AUTHENTICATION_APIKEY_ALLOWED_KEYS"}

    assert composed.keys() <= native.keys()
    assert {name: composed[name] for name in composed.keys() - place} == {
        name: native[name] for name in composed.keys() - place
    }
    missing = {name for name in native.keys() - composed.keys() if not name.startswith(("CLUSTER_", "RAFT_", "GRPC_"))}
    assert missing == set()
