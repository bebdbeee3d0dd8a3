"""What a watched worker writes down of every batch, line by line, so that it outlives the worker's death."""

import enum
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from topology.graph import StageName


class Deed(enum.StrEnum):
    """What was done."""

    ASSIGNED = "assigned"
    """Partitions came; each part begins and ends at the position."""
    REVOKED = "revoked"
    """Partitions were given back, and what was open on them has ended."""
    DECIDING = "deciding"
    """A batch is about to be decided: its records were delivered to the stage."""
    PERFORMING = "performing"
    """The engine begins its outside effect."""
    CALLING = "calling"
    """The stage is asked to do it."""
    PERFORMED = "performed"
    """Its outside effect is done."""
    HOLDING = "holding"
    """It is ready to commit and is kept from it until partitions go."""
    COMMITTED = "committed"
    """Its transaction is over."""
    REFUSED = "refused"
    """Its commit, or what came before it, was refused; `note` says how."""
    MET_FATE = "met_fate"
    """The worker kills or freezes itself now; `note` says where."""
    WENT_ON = "went_on"
    """The worker has been thawed."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive records of a stage's input."""

    partition: int
    first_offset: int
    last_offset: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line.

    Attributes:
        at_ns: the machine's monotonic clock, which all its processes share.
        pid: who.
        stage: of which stage.
        deed: what.
        parts: on which records.
        revisions: what the effect writes, by name, with the revision.
        note: anything more.
    """

    at_ns: int
    pid: int
    stage: StageName
    deed: Deed
    parts: Sequence[Part] = ()
    revisions: dict[str, int] = {}
    note: str = ""


class Journal:
    """Appends entries to a file.

    Args:
        path: the file; several processes may write to the same one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(
        self,
        stage: StageName,
        deed: Deed,
        parts: Sequence[Part] = (),
        *,
        revisions: dict[str, int] | None = None,
        note: str = "",
    ) -> None:
        """Append one entry; with the kernel when this returns, so a killed process has said it."""
        entry = Entry(
            at_ns=time.monotonic_ns(),
            pid=os.getpid(),
            stage=stage,
            deed=deed,
            parts=parts,
            revisions=revisions or {},
            note=note,
        )
        os.write(self._file, msgspec.json.encode(entry) + b"\n")


def hold_file(path: Path, stage: StageName) -> Path:
    """Whoever makes this file, beside a journal, tells the stage to keep its batches open until partitions go."""
    return path.with_name(f"hold-{stage}")


def read(path: Path) -> list[Entry]:
    """All entries so far, in the order of time; a line that is only half there is left for the next reading."""
    whole, _, _ = path.read_bytes().rpartition(b"\n") if path.exists() else (b"", b"", b"")
    entries = [_decoder.decode(line) for line in whole.splitlines()]
    return sorted(entries, key=lambda entry: entry.at_ns)


_decoder = msgspec.json.Decoder(Entry)
