"""The name of a worker: one process of a host has it at a time, and its successor takes it over.

It makes the static member id and the transactional id: with the same ones a restart has the partitions back at once and
aborts what its predecessor left open. Two living processes with one name would end each other by the same means.

Each name in use is a file, locked by its holder, with the holder's process number in it; the kernel frees the lock of a
killed process. A worker that leaves removes its files, and one that starts removes what killed ones left, of all logs:
there are as many files as names in use, and those of killed workers until the next start. They belong to the host and
to its present run, hence `XDG_RUNTIME_DIR`, else the temporary folder. Nothing is remembered in them: what is known of
crashes stands in Kafka (`streams.engine.marks`).

A file is made only under the folder's lock, and removed only under its own. So nobody can lock a file that is removed
already, or remove one that was made anew.

Not promised: anything across hosts, users, or containers without a common folder. There the broker tells such workers
apart, and the older one ends with an error that says so.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import TextIO

from streams.errors import UsageError
from streams.settings import Settings
from topology.graph import StageName

_MAX_SLOTS = 256
"""Workers without a name, per host, log and stage."""


@contextmanager
def claim_instance(settings: Settings, stage: StageName) -> Iterator[str]:
    """The worker's given name, else the host's with the first slot that is free; nobody else here has it meanwhile.

    Raises:
        UsageError: another process of this host has the name, or all slots are taken, or no lock file can be made.
    """
    given = settings.worker.instance
    names = [given] if given else [f"{socket.gethostname()}-{slot}" for slot in range(_MAX_SLOTS)]
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"memstream-{os.getuid()}"
    paths = {name: folder / f"{stage}.{_digest(settings, stage, name)}.lock" for name in names}
    with ExitStack() as held:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _only_one(folder):
                _remove_abandoned(folder)
                name = next((name for name, path in paths.items() if _claim(path, held)), None)
        except OSError as error:
            raise UsageError(
                f"cannot keep lock files in {folder}: {error}",
                next_step="set XDG_RUNTIME_DIR to a folder of this user's",
            ) from None
        if name is not None:
            yield name
            return
    if given:
        raise UsageError(
            f"{_holder(paths[given])} on this host already runs {stage} under the instance name {given}",
            next_step="stop it first, or give each worker a MEMSTREAM_WORKER_INSTANCE of its own, or none at all",
        )
    raise UsageError(
        f"{_MAX_SLOTS} workers run {stage} on this host already",
        next_step="name this one with MEMSTREAM_WORKER_INSTANCE",
    )


def _digest(settings: Settings, stage: StageName, name: str) -> str:
    """Tells apart what the broker tells apart: a name may also hold what no file name does."""
    kafka = settings.kafka
    identity = (kafka.bootstrap_servers, kafka.namespace, str(settings.worker.generation), stage, name)
    return blake2b("\0".join(identity).encode(), digest_size=10).hexdigest()


def _holder(path: Path) -> str:
    try:
        return f"process {path.read_text()}"
    except FileNotFoundError:
        return "a process that is just leaving"


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """While the block runs, nobody else makes files in the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob("*.lock"):
        with suppress(FileNotFoundError), path.open() as file:  # its holder may just be leaving
            if _lock(file):
                path.unlink(missing_ok=True)


def _claim(path: Path, held: ExitStack) -> bool:
    """Make the file and keep it locked until its holder ends; false when it is there and so has a holder."""
    try:
        file = held.enter_context(path.open("x"))
    except FileExistsError:
        return False
    _lock(file)
    file.write(str(os.getpid()))
    file.flush()
    held.callback(path.unlink, missing_ok=True)  # before it is closed, and so while it is locked
    return True


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
