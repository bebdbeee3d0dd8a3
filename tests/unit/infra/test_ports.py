"""Free ports."""

import socket

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.native.ports import FIRST_PORT, LAST_PORT, choose, is_free


def listening() -> socket.socket:
    """Listen on some port of loopback."""
    return socket.create_server(("127.0.0.1", 0))


def test_a_port_with_a_listener_is_not_free() -> None:
    """A listener on loopback makes its port taken, and its end makes it free."""
    with listening() as server:
        port = server.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_the_ports_of_the_last_run_are_kept() -> None:
    """A restart gets the ports it had, so that addresses people noted stay right."""
    before = choose({"kafka": 1, "redis": 1}, {})

    assert choose({"kafka": 1, "redis": 1}, before) == before


def test_a_port_that_was_taken_meanwhile_is_replaced() -> None:
    """Only the port that somebody else took changes."""
    before = choose({"kafka": 1}, {})
    with listening() as server:
        taken = server.getsockname()[1]
        chosen = choose({"kafka": 1, "redis": 1}, before | {"redis": taken})

    assert chosen["kafka"] == before["kafka"]
    assert chosen["redis"] != taken


def test_a_row_with_a_taken_port_is_replaced_as_a_whole() -> None:
    """A name that needs two ports in a row moves when the second of them is taken."""
    with listening() as server:
        second = server.getsockname()[1]
        chosen = choose({"raft": 2}, {"raft": second - 1})

    assert chosen["raft"] != second - 1


@settings(max_examples=25, deadline=None)
@given(
    widths=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3), max_size=6),
    before=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(FIRST_PORT, FIRST_PORT + 8), max_size=6),
)
def test_no_port_is_given_twice(widths: dict[str, int], before: dict[str, int]) -> None:
    """Whatever was written down before, every name gets its own ports, all below those of outgoing connections."""
    chosen = choose(widths, before)
    all_ports = [port for name, first in chosen.items() for port in range(first, first + widths[name])]

    assert chosen.keys() == widths.keys()
    assert len(all_ports) == len(set(all_ports))
    assert all(FIRST_PORT <= port < LAST_PORT for port in all_ports)
