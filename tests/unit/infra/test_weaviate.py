"""What Weaviate is started with."""

from pathlib import Path

import pytest

from infra.native.weaviate import Weaviate


def test_every_request_needs_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of its ports listen on all addresses, so anonymous access is off, whatever the caller's environment says."""
    monkeypatch.setenv("AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "true")
    monkeypatch.setenv("AUTHENTICATION_DB_USERS_ENABLED", "true")
    ports = {name: 20000 + 10 * number for number, name in enumerate(Weaviate.port_widths)}

    env = Weaviate(tmp_path, ports, "secret").env()

    assert env["AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED"] == "false"
    assert env["AUTHENTICATION_APIKEY_ENABLED"] == "true"
    assert env["AUTHENTICATION_APIKEY_ALLOWED_KEYS"] == "secret"
    assert "AUTHENTICATION_DB_USERS_ENABLED" not in env
    assert "DISABLE_TELEMETRY" in env


def test_computed_ports_are_the_ones_that_were_reserved(tmp_path: Path) -> None:
    """The ports that Weaviate computes from others are the second ones of their rows."""
    ports = {"weaviate_http": 1, "weaviate_grpc": 2, "weaviate_gossip": 7100, "weaviate_raft": 8300}

    env = Weaviate(tmp_path, ports, "secret").settings()

    assert (env["CLUSTER_DATA_BIND_PORT"], env["RAFT_INTERNAL_RPC_PORT"]) == ("7101", "8301")
    assert Weaviate.port_widths["weaviate_gossip"] == Weaviate.port_widths["weaviate_raft"] == 2
