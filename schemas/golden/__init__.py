"""Golden samples: stored records of every type and version that today's code must still read.

One file per sample, in a folder per topic (`conversation_events/turn.v1.json`); `future` holds records of schemas to
come, `broken` what must be refused, each with its reason. A stored sample is never written again: it stands for the
records in somebody's log. `python -m schemas.golden` writes those that are missing, from `schemas.golden.samples`.

When a type grows a field, its old sample stays and shows that old records can still be read. When a type gets a new
version, its sample in `samples` changes, and the next run stores it beside the old one (`turn.v2.json`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from schemas import codec
from schemas.memory import Memory
from schemas.outcome import Reason

FOLDER = Path(__file__).parent

CODECS: Mapping[str, codec.Codec[Any]] = {
    "conversation_events": codec.CONVERSATION_EVENTS,
    "candidates": codec.CANDIDATES,
    "embedded": codec.EMBEDDED,
    "changes": codec.CHANGES,
    "indexed": codec.INDEXED,
    "heads": codec.HEADS,
    "windows": codec.WINDOWS,
    "ledger": codec.LEDGER,
    "dlq": codec.DLQ,
    "memories": codec.Codec[Memory](Memory, "json"),
}
"""By the name of their folder. Memories stand on no topic: they are what stores keep and the HTTP API answers."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One stored record, and what reading it gives.

    Attributes:
        about: what it shows.
        codec: which of `CODECS` reads it.
        body: the record as JSON; in its place `raw_base64` where it is MessagePack or no JSON at all.
        raw_base64: the record's bytes.
        record: what it was read as when it was stored, as JSON; or else it is `refused`.
        refused: why it cannot be read.
    """

    about: str
    codec: str
    body: Any = msgspec.UNSET
    raw_base64: bytes | msgspec.UnsetType = msgspec.UNSET
    record: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    refused: Reason | msgspec.UnsetType = msgspec.UNSET

    def raw(self) -> bytes:
        """The record as it stands on its topic."""
        return msgspec.json.encode(self.body) if self.raw_base64 is msgspec.UNSET else self.raw_base64

    def read(self) -> Any:
        """The record, read with today's code.

        Raises:
            DecodeError: it cannot be.
        """
        return CODECS[self.codec].decode(self.raw())


def stored(folder: Path = FOLDER) -> Iterator[tuple[str, Sample]]:
    """All stored samples with their names (`conversation_events/turn.v1`), in the order of the names."""
    for path in sorted(folder.rglob("*.json")):
        yield str(path.relative_to(folder).with_suffix("")), msgspec.json.decode(path.read_bytes(), type=Sample)


def store_missing(samples: Mapping[str, Sample], folder: Path = FOLDER) -> list[str]:
    """Write the samples that are not stored yet, and leave every stored one alone.

    Returns:
        The names of those written.
    """
    missing = [name for name in samples if not path_of(name, folder).exists()]
    for name in missing:
        path = path_of(name, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(samples[name]), indent=2) + b"\n")
    return missing


def path_of(name: str, folder: Path = FOLDER) -> Path:
    """Where a sample is stored. Names have dots, so this appends the suffix instead of replacing one."""
    return folder / f"{name}.json"
