"""Redis as one native process on loopback."""

import socket
from datetime import timedelta
from typing import ClassVar

from infra.native.part import Installation, Part


class Redis(Part):
    """The cache server."""

    name = "redis"
    port_widths: ClassVar = {"redis": 1}
    ready_within = timedelta(seconds=30)

    @property
    def address(self) -> str:
        """The URL."""
        return f"redis://127.0.0.1:{self.ports['redis']}/0"

    def command(self, installed: Installation) -> list[object]:
        """Return the server's command line; it reads no configuration file."""
        settings = {
            "port": str(self.ports["redis"]),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            # Every write goes to the append-only file, synced once a second: a crash loses a second of cache.
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            # Only keys with a time to live may be evicted; versions and counters have none.
            "maxmemory": "512mb",
            "maxmemory-policy": "volatile-lru",
            "daemonize": "no",
        }
        return [installed.redis_server, *(word for key, value in settings.items() for word in (f"--{key}", value))]

    def is_ready(self) -> bool:
        """Send PING, in Redis's inline form; a server that still loads its file answers otherwise."""
        try:
            with socket.create_connection(("127.0.0.1", self.ports["redis"]), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
