"""The state file and the form in which others see it."""

import os
from pathlib import Path

import msgspec
import pytest

from infra.native import processes, state
from infra.native.errors import StackError, StackUnknownError
from infra.native.processes import ProcessFacts
from infra.native.state import (
    KafkaAddress,
    RedisAddress,
    SqliteAddress,
    StackRecord,
    StackState,
    WeaviateAddress,
)

LIGHT = StackState(
    state="up",
    mode="light",
    kafka=KafkaAddress("127.0.0.1:9092"),
    redis=RedisAddress("redis://127.0.0.1:6379/0"),
    store=SqliteAddress("/data/store.db"),
)
FULL = msgspec.structs.replace(LIGHT, mode="full", store=WeaviateAddress("127.0.0.1:8080", "127.0.0.1:50051", "secret"))


def running(stack: StackState) -> StackRecord:
    """Make the record of a stack whose only process is this one."""
    started = processes.started(os.getpid())
    assert started is not None
    return StackRecord(stack=stack, ports={"kafka": 9092}, processes={"kafka": ProcessFacts(os.getpid(), started)})


def dead(stack: StackState) -> StackRecord:
    """Make the record of a stack whose processes have gone without being stopped."""
    return StackRecord(stack=stack, processes={"kafka": ProcessFacts(os.getpid(), "long ago")})


def test_a_light_stack_is_told_as_documented() -> None:
    """The JSON of a light stack is the documented one, to the letter."""
    assert msgspec.json.decode(msgspec.json.encode(LIGHT)) == {
        "state": "up",
        "mode": "light",
        "kafka": {"bootstrap_servers": "127.0.0.1:9092"},
        "redis": {"url": "redis://127.0.0.1:6379/0"},
        "store": {"kind": "sqlite", "path": "/data/store.db"},
        "api": None,
    }


def test_a_full_stack_is_told_as_documented() -> None:
    """The JSON of a full stack has Weaviate's addresses and key instead of a path."""
    assert msgspec.json.decode(msgspec.json.encode(FULL))["store"] == {
        "kind": "weaviate",
        "http": "127.0.0.1:8080",
        "grpc": "127.0.0.1:50051",
        "api_key": "secret",
    }


def test_nothing_known_is_down_with_nulls() -> None:
    """Where no stack ever was, everything but the state is null."""
    assert msgspec.json.decode(msgspec.json.encode(StackState())) == {
        "state": "down",
        "mode": None,
        "kafka": None,
        "redis": None,
        "store": None,
        "api": None,
    }


@pytest.mark.parametrize("stack", [LIGHT, FULL])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, stack: StackState) -> None:
    """Both modes come back from their file unchanged while their processes run."""
    assert stack.mode is not None
    record = running(stack)
    state.write(tmp_path, stack.mode, record)

    assert state.read(tmp_path, stack.mode) == record
    assert state.find(tmp_path) == stack


def test_the_file_is_private(tmp_path: Path) -> None:
    """Nobody else can read the file, also when an older one was readable: it holds the API key."""
    path = state.record_path(tmp_path, "full")
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o644)
    state.write(tmp_path, "full", running(FULL))

    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_stack_whose_processes_are_gone_is_down(tmp_path: Path) -> None:
    """After a reboot the file says up, yet the stack is down; its addresses are still known."""
    stack = msgspec.structs.replace(FULL, api=state.ApiAddress("http://127.0.0.1:8000"))
    state.write(tmp_path, "full", dead(stack))

    assert state.find(tmp_path) == msgspec.structs.replace(FULL, state="down")
    assert state.read(tmp_path, "full").processes == {}


def test_no_stack_is_none(tmp_path: Path) -> None:
    """Where no stack ever was, none is found."""
    assert state.find(tmp_path) is None


def test_the_stack_that_is_up_is_found_before_a_newer_one_that_is_down(tmp_path: Path) -> None:
    """The state of the stack that is up wins, whichever file is newer."""
    state.write(tmp_path, "full", running(FULL))
    state.write(tmp_path, "light", dead(LIGHT))

    assert state.find(tmp_path) == FULL


def test_of_two_that_are_down_the_last_is_found(tmp_path: Path) -> None:
    """When none is up, the one that was changed last is told."""
    for number, mode in enumerate(("full", "light"), 1):
        state.write(tmp_path, mode, dead(FULL if mode == "full" else LIGHT))
        os.utime(state.record_path(tmp_path, mode), (number, number))

    found = state.find(tmp_path)
    assert found is not None
    assert (found.state, found.mode) == ("down", "light")


def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    """A file that is no record names itself and the way out."""
    path = state.record_path(tmp_path, "light")
    path.parent.mkdir()
    path.write_text("{")

    with pytest.raises(StackError, match="cannot be read") as raised:
        state.find(tmp_path)

    assert "delete the file" in raised.value.next_step


def test_the_api_is_written_down_beside_the_running_stack(tmp_path: Path) -> None:
    """The API's address appears in the state and goes away again."""
    state.write(tmp_path, "light", running(LIGHT))

    state.set_api("http://127.0.0.1:8000", tmp_path)
    with_api = state.find(tmp_path)
    state.set_api(None, tmp_path)

    assert with_api == msgspec.structs.replace(LIGHT, api=state.ApiAddress("http://127.0.0.1:8000"))
    assert state.find(tmp_path) == LIGHT


def test_an_api_needs_a_stack_that_is_up(tmp_path: Path) -> None:
    """Without a running stack an address is refused, and forgetting one is no error."""
    state.write(tmp_path, "light", dead(LIGHT))

    state.set_api(None, tmp_path)
    with pytest.raises(StackUnknownError):
        state.set_api("http://127.0.0.1:8000", tmp_path)
