"""What is known about the stacks of one home folder, and the form in which it is told."""

import os
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from infra.native import processes
from infra.native.errors import StackError, StackUnknownError
from infra.native.exclusive import exclusive
from infra.native.paths import home_folder
from infra.native.processes import ProcessFacts

Mode = Literal["light", "full"]
MODES: tuple[Mode, ...] = ("light", "full")


class KafkaAddress(msgspec.Struct, frozen=True):
    """How to reach Kafka."""

    bootstrap_servers: str


class RedisAddress(msgspec.Struct, frozen=True):
    """How to reach Redis."""

    url: str


class SqliteAddress(msgspec.Struct, frozen=True, tag_field="kind", tag="sqlite"):
    """Where the SQLite store's file is, or will be."""

    kind: ClassVar[Literal["sqlite"]] = "sqlite"
    path: str


class WeaviateAddress(msgspec.Struct, frozen=True, tag_field="kind", tag="weaviate"):
    """How to reach Weaviate: `http` (REST) and `grpc` are `host:port`."""

    kind: ClassVar[Literal["weaviate"]] = "weaviate"
    http: str
    grpc: str
    api_key: str


class ApiAddress(msgspec.Struct, frozen=True):
    """How to reach the HTTP API, when one is served."""

    url: str


class StackState(msgspec.Struct, frozen=True):
    """A stack as others see it; its JSON is what `memstream stack status --json` prints.

    `up` says that the stack was started, not stopped, and that at least one of its processes runs. It does not
    promise that every part answers. A stack that is down keeps the addresses it had; they are None when it never ran.
    """

    state: Literal["up", "down"] = "down"
    mode: Mode | None = None
    kafka: KafkaAddress | None = None
    redis: RedisAddress | None = None
    store: SqliteAddress | WeaviateAddress | None = None
    api: ApiAddress | None = None


class StackRecord(msgspec.Struct, frozen=True):
    """The state file: what others see, and what only the stack itself needs."""

    stack: StackState = StackState()
    ports: dict[str, int] = {}
    processes: dict[str, ProcessFacts] = {}


def record_path(home: Path, mode: Mode) -> Path:
    """Return where the state file of a mode is."""
    return home / mode / "stack.json"


def lock_path(home: Path) -> Path:
    """Return the lock file under which state files are changed."""
    return home / "stack.lock"


def read(home: Path, mode: Mode) -> StackRecord:
    """Read a mode's state file and see whether its processes still run; an empty record when there is none."""
    path = record_path(home, mode)
    try:
        record = msgspec.json.decode(path.read_bytes(), type=StackRecord)
    except FileNotFoundError:
        return StackRecord()
    except msgspec.MsgspecError as error:
        raise StackError(
            f"the state file {path} cannot be read: {error}",
            f"end processes that still run from {path.parent}, then delete the file; the data beside it is kept",
        ) from error
    if any(processes.is_alive(facts) for facts in record.processes.values()):
        return record
    return msgspec.structs.replace(
        record, stack=msgspec.structs.replace(record.stack, state="down", api=None), processes={}
    )


def write(home: Path, mode: Mode, record: StackRecord) -> None:
    """Replace a mode's state file in one step, readable by its owner only: it holds the store's API key."""
    path = record_path(home, mode)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".json.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    fresh.replace(path)


def find(home: Path | None = None) -> StackState | None:
    """Return the stack that is up in the home folder, else the one that was up last, else None."""
    home = home or home_folder()
    known = [mode for mode in MODES if record_path(home, mode).exists()]
    states = {mode: read(home, mode).stack for mode in known}
    for state in states.values():
        if state.state == "up":
            return state
    latest = max(known, key=lambda mode: record_path(home, mode).stat().st_mtime_ns, default=None)
    return states[latest] if latest else None


def set_api(url: str | None, home: Path | None = None) -> None:
    """Write down where the HTTP API is served beside the running stack, or that it no longer is.

    Raises:
        StackUnknownError: An address was given and no stack is up.
    """
    home = home or home_folder()
    with exclusive(lock_path(home), on_wait=lambda: None):
        for mode in MODES:
            record = read(home, mode)
            if record.stack.state == "up":
                api = ApiAddress(url) if url else None
                stack = msgspec.structs.replace(record.stack, api=api)
                write(home, mode, msgspec.structs.replace(record, stack=stack))
                return
    if url:
        raise StackUnknownError("no stack is up that could name the API's address", "run: memstream stack up")
