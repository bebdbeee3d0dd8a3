"""Free TCP ports, and the ones a stopped stack had before."""

import secrets
import socket
from collections.abc import Mapping

# Below the range from which Linux (32768) and macOS (49152) take the ports of outgoing connections, so that no
# client's connection can sit on a stopped stack's port; Weaviate asks for 1024-65535.
FIRST_PORT = 15_000
LAST_PORT = 32_000


def is_free(port: int) -> bool:
    """Tell whether nothing listens on the port, on loopback or on any other address.

    Weaviate's gRPC and cluster ports listen on all addresses, so all of them are asked for.
    """
    for address in ("127.0.0.1", ""):  # BSD lets "" be taken beside a listener on 127.0.0.1, so both are tried
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # A port whose last connections are still in TIME_WAIT can be listened on again.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def choose(widths: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Choose free ports for every name, those it had before where they are still free.

    Nothing reserves the ports: a process that takes one before the part listens makes that part fail to start.

    Args:
        widths: How many ports in a row each name needs; the first of them is returned.
        before: The ports of the last run.
    """
    chosen: dict[str, int] = {}
    taken: set[int] = set()
    for name, width in widths.items():
        first = before.get(name, 0)
        while not first or any(port in taken or not is_free(port) for port in range(first, first + width)):
            first = FIRST_PORT + secrets.randbelow(LAST_PORT - width - FIRST_PORT)
        chosen[name] = first
        taken.update(range(first, first + width))
    return chosen
