"""What the stack knows of each of its parts: how to start it, and how to see that it works."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import msgspec

from infra.native.errors import PartError


class Installation(msgspec.Struct, frozen=True):
    """The programs of a stack, all on disk; `weaviate` is None in the light stack."""

    java: Path
    kafka_jars: Path
    redis_server: Path
    weaviate: Path | None


class Part(ABC):
    """One process of the stack.

    Args:
        folder: Where it keeps its data; made when it is prepared.
        ports: The ports of the stack by name.
    """

    name: ClassVar[str]
    port_widths: ClassVar[Mapping[str, int]]  # how many ports in a row each name stands for
    ready_within: ClassVar[timedelta] = timedelta(seconds=90)
    stop_within: ClassVar[timedelta] = timedelta(seconds=20)

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        self.folder = folder
        self.ports = ports

    @property
    @abstractmethod
    def address(self) -> str:
        """What its clients are given."""

    def prepare(self, installed: Installation) -> None:  # noqa: ARG002 for those who need it
        """Write what the process reads at its start; data of an earlier run is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def command(self, installed: Installation) -> list[object]:
        """Return the command line."""

    def settings(self) -> dict[str, str]:
        """Return the environment variables that set the process up."""
        return {}

    @abstractmethod
    def is_ready(self) -> bool:
        """Ask the process once whether it serves requests; takes two seconds at most."""

    def explained(self, log: str) -> PartError | None:  # noqa: ARG002 for those who can
        """Return why the process ended while starting, where its log tells that and its last words do not."""
        return None

    def env(self) -> dict[str, str]:
        """Return the whole environment: little of ours, so that a user's variables change no part by accident."""
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
        return {name: os.environ[name] for name in kept if name in os.environ} | self.settings()
