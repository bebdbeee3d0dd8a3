"""Weaviate as one native process: a cluster of one node."""

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from infra.native.errors import StackUnknownError
from infra.native.part import Installation, Part


class Weaviate(Part):
    """The production store.

    Its REST, gossip and Raft ports are on loopback. Its gRPC and cluster data ports listen on all addresses, which no
    setting of Weaviate changes; so every request needs the API key, here too.
    """

    name = "weaviate"
    # With CLUSTER_IN_LOCALHOST the data port is the gossip port + 1 and Raft's RPC port the Raft port + 1: Weaviate
    # computes them that way whatever the settings say, and finds no leader otherwise.
    port_widths: ClassVar = {"weaviate_http": 1, "weaviate_grpc": 1, "weaviate_gossip": 2, "weaviate_raft": 2}

    def __init__(self, folder: Path, ports: Mapping[str, int], api_key: str) -> None:
        super().__init__(folder, ports)
        self._api_key = api_key

    @property
    def address(self) -> str:
        """The REST address, host and port."""
        return f"127.0.0.1:{self.ports['weaviate_http']}"

    @property
    def grpc(self) -> str:
        """The gRPC address, host and port."""
        return f"127.0.0.1:{self.ports['weaviate_grpc']}"

    def command(self, installed: Installation) -> list[object]:
        """Return the server's command line."""
        if installed.weaviate is None:
            raise StackUnknownError("the light stack has no Weaviate", "run: memstream stack up --mode full")
        listen = ["--scheme", "http", "--host", "127.0.0.1", "--port", str(self.ports["weaviate_http"])]
        return [installed.weaviate, *listen, "--read-timeout=600s", "--write-timeout=600s"]

    def settings(self) -> dict[str, str]:
        """Return the server's settings; it has them all from its environment."""
        return {
            "PERSISTENCE_DATA_PATH": str(self.folder / "data"),
            "ENABLE_MODULES": "backup-filesystem",
            "BACKUP_FILESYSTEM_PATH": str(self.folder / "backups"),
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
            "AUTHENTICATION_APIKEY_ENABLED": "true",
            "AUTHENTICATION_APIKEY_ALLOWED_KEYS": self._api_key,
            "AUTHENTICATION_APIKEY_USERS": "memstream",
            "CLUSTER_HOSTNAME": "node1",
            "CLUSTER_IN_LOCALHOST": "true",
            "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
            "CLUSTER_BIND_ADDR": "127.0.0.1",
            "CLUSTER_GOSSIP_BIND_PORT": str(self.ports["weaviate_gossip"]),
            "CLUSTER_DATA_BIND_PORT": str(self.ports["weaviate_gossip"] + 1),
            "RAFT_PORT": str(self.ports["weaviate_raft"]),
            "RAFT_INTERNAL_RPC_PORT": str(self.ports["weaviate_raft"] + 1),
            "RAFT_BOOTSTRAP_EXPECT": "1",
            # The default of 5 is for clusters; one node elects itself 4 s sooner.
            "RAFT_TIMEOUTS_MULTIPLIER": "1",
            "GRPC_PORT": str(self.ports["weaviate_grpc"]),
            "DEFAULT_VECTORIZER_MODULE": "none",
            "AUTOSCHEMA_ENABLED": "false",
            "DISABLE_TELEMETRY": "true",
            "GO_PROFILING_DISABLE": "true",  # else a debug listener on port 6060 of all addresses
            "GOMEMLIMIT": "1GiB",  # about 130 MB resident when empty
            # Rubbish may grow to four times what is alive, within that limit; by default to as much, and collecting it
            # was a fifth of Weaviate's processor time (`make bench-pipeline`: 136 -> 109 us a turn).
            "GOGC": "400",
            "LOG_LEVEL": "warning",
        }

    def is_ready(self) -> bool:
        """Ask the readiness endpoint, with the key."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["weaviate_http"], timeout=2)
        try:
            path = "/v1/.well-known/ready"
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._api_key}"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
