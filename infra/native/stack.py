"""The native stack: two modes, one way to start, stop and watch them."""

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from infra.native import kafka_jars, ports, processes, state, toolchains, weaviate_build
from infra.native.errors import PartError, PartUnknownError, StackConflictError, StackUnknownError
from infra.native.exclusive import exclusive
from infra.native.kafka import Kafka
from infra.native.part import Installation, Part
from infra.native.paths import cache_folder, home_folder
from infra.native.processes import ProcessFacts
from infra.native.progress import Progress, Silent
from infra.native.redis import Redis
from infra.native.state import (
    KafkaAddress,
    Mode,
    RedisAddress,
    SqliteAddress,
    StackRecord,
    StackState,
    WeaviateAddress,
)
from infra.native.toolchains import Source, source_from_environment
from infra.native.weaviate import Weaviate

_POLL_S = 0.1


class PartStatus(msgspec.Struct, frozen=True):
    """How one part is: `dead` has no process, `deaf` has one that does not answer."""

    name: str
    condition: Literal["ready", "deaf", "dead"]
    pid: int | None
    address: str
    log: Path


class Stack:
    """Kafka, Redis and, in full mode, Weaviate as processes of this machine.

    One stack can be up per home folder. Its processes outlive the process that starts them. Methods that change the
    stack wait for each other, across processes too; they may raise every error of `infra.native.errors`.

    Its files can be read by their owner only. Kafka and Redis listen on loopback and ask nobody for a password, so
    every user of the machine can reach them: it is a stack for development and for machines of one's own.

    Args:
        mode: `light` stores memories in a SQLite file, `full` in Weaviate.
        home: Folder of data, logs and state; `MEMSTREAM_HOME` when None.
        cache: Folder of fetched and built programs; `MEMSTREAM_CACHE` when None.
        toolchains: Where Java, Go and redis-server come from; `MEMSTREAM_TOOLCHAINS`, else `auto`, when None.
    """

    def __init__(
        self,
        mode: Mode = "full",
        home: Path | None = None,
        cache: Path | None = None,
        toolchains: Source | None = None,
    ) -> None:
        self.mode = mode
        self.home = (home or home_folder()).resolve()
        self.cache = (cache or cache_folder()).resolve()
        self._source = toolchains or source_from_environment()
        self._folder = self.home / mode

    def up(self, progress: Progress | None = None) -> StackState:
        """Start what is not running, and return when every part answers.

        A stack of this mode that is up already is left as it is; parts of it that died are started again. A start that
        fails or is interrupted stops what it started.

        Args:
            progress: Shows fetches, the build and the start.
        """
        progress = progress or Silent()
        with self._changing(progress):
            self._refuse_other_mode()
            record = state.read(self.home, self.mode)
            missing = [part.name for part in self._parts(record) if not _runs(record, part)]
            if not missing:
                return record.stack
            installed = self._install(progress)
            record = self._with_addresses(record)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            try:
                with progress.step(f"starting {', '.join(missing)}"):
                    for part in self._parts(record):
                        if part.name in missing:
                            record = self._spawn(part, installed, record)
                    self._await_ready(record)
            except BaseException:
                # Read again: an interrupt may have come between a start and our knowing of it.
                record = state.read(self.home, self.mode)
                if record.processes:
                    self._stop([part for part in self._parts(record) if part.name in missing], record)
                raise
            return record.stack

    def down(self, *, wipe: bool = False, progress: Progress | None = None) -> StackState:
        """Stop every part; none runs afterwards.

        Args:
            wipe: Also delete the data, the logs and the state of this mode.
            progress: Shows the stop.
        """
        progress = progress or Silent()
        with self._changing(progress):
            record = state.read(self.home, self.mode)
            if record.processes:
                with progress.step(f"stopping {', '.join(record.processes)}"):
                    record = self._stop(self._parts(record), record)
            if wipe and state.record_path(self.home, self.mode).exists():
                shutil.rmtree(self._folder)
                return StackState()
            return record.stack

    def status(self) -> StackState:
        """Return the state of this mode's stack, without asking its parts."""
        return state.read(self.home, self.mode).stack

    def parts(self) -> list[PartStatus]:
        """Ask every part how it is."""
        record = state.read(self.home, self.mode)
        if not record.ports:
            return []
        return [self._part_status(part, record) for part in self._parts(record)]

    def logs(self, name: str) -> Path:
        """Return the log file of a part; it exists once the part was started."""
        known = self._part_names()
        if name not in known:
            raise PartUnknownError(f"the {self.mode} stack has no part {name}", f"name one of: {', '.join(known)}")
        return self._folder / "logs" / f"{name}.log"

    def start_part(self, name: str) -> None:
        """Start one part again, on the ports it had, and return when it answers; does nothing if it runs."""
        installed = self._install(Silent())
        with self._changing(Silent()):
            record, part = self._known_part(name)
            if _runs(record, part):
                return
            record = self._spawn(part, installed, record)
            try:
                self._await_ready(record, only=name)
            except BaseException:
                self._stop([part], record)
                raise

    def stop_part(self, name: str) -> None:
        """Stop one part in good order; the others go on."""
        with self._changing(Silent()):
            record, part = self._known_part(name)
            self._stop([part], record)

    def kill_part(self, name: str) -> None:
        """End one part as a crash would."""
        with self._changing(Silent()):
            record, part = self._known_part(name)
            if facts := record.processes.get(part.name):
                processes.kill([facts])

    def set_api(self, url: str | None) -> None:
        """Write down where the HTTP API is served beside this stack, or that it no longer is."""
        state.set_api(url, self.home)

    def _install(self, progress: Progress) -> Installation:
        full = self.mode == "full"
        return Installation(
            java=toolchains.java(self._source, self.cache, progress),
            kafka_jars=kafka_jars.jars(self.cache, progress),
            redis_server=toolchains.redis_server(self._source, self.cache, progress),
            weaviate=weaviate_build.binary(self._source, self.cache, progress) if full else None,
        )

    def _refuse_other_mode(self) -> None:
        for mode in state.MODES:
            if mode != self.mode and state.read(self.home, mode).processes:
                raise StackConflictError(
                    f"a {mode} stack is up in {self.home}, which can have one stack at a time",
                    f"run: memstream stack down, which keeps the data of {mode}, and then this again; or use the {mode}"
                    " stack as it is; or set MEMSTREAM_HOME for a second one",
                )

    @contextmanager
    def _changing(self, progress: Progress) -> Iterator[None]:
        waiting = "another command changes this stack; waiting for it"
        with exclusive(state.lock_path(self.home), on_wait=lambda: progress.note(waiting)):
            yield

    def _parts(self, record: StackRecord) -> list[Part]:
        """Return the parts in the order in which they are started: the slowest first."""
        store = record.stack.store
        parts: list[Part] = [
            Kafka(self._folder / "kafka", record.ports),
            Redis(self._folder / "redis", record.ports),
        ]
        if self.mode == "full":
            api_key = store.api_key if isinstance(store, WeaviateAddress) else ""
            parts.insert(0, Weaviate(self._folder / "weaviate", record.ports, api_key))
        return parts

    def _part_names(self) -> list[str]:
        return [part.name for part in self._parts(StackRecord())]

    def _with_addresses(self, record: StackRecord) -> StackRecord:
        """Give the record ports, an API key and addresses; a part that runs keeps what it has."""
        if record.processes:
            return record
        chosen = ports.choose(_port_widths(self.mode), record.ports)
        record = msgspec.structs.replace(record, ports=chosen)
        before = record.stack.store
        api_key = before.api_key if isinstance(before, WeaviateAddress) else secrets.token_urlsafe(32)
        kafka, redis = Kafka(self._folder / "kafka", chosen), Redis(self._folder / "redis", chosen)
        store: SqliteAddress | WeaviateAddress = SqliteAddress(str(self._folder / "store.db"))
        if self.mode == "full":
            weaviate = Weaviate(self._folder / "weaviate", chosen, api_key)
            store = WeaviateAddress(weaviate.address, weaviate.grpc, api_key)
        stack = StackState(
            state="up",
            mode=self.mode,
            kafka=KafkaAddress(kafka.address),
            redis=RedisAddress(redis.address),
            store=store,
        )
        return msgspec.structs.replace(record, stack=stack)

    def _spawn(self, part: Part, installed: Installation, record: StackRecord) -> StackRecord:
        part.prepare(installed)
        # Started and written in one, before the part is ready: whoever stops us leaves nothing that nobody knows.
        with processes.uninterrupted():
            facts = processes.spawn(part.command(installed), part.env(), part.folder, self.logs(part.name))
            return self._written(record, record.processes | {part.name: facts})

    def _await_ready(self, record: StackRecord, only: str | None = None) -> None:
        since = time.monotonic()
        for part in self._parts(record):
            if only not in (None, part.name):
                continue
            while not part.is_ready():
                if not _runs(record, part):
                    log = self.logs(part.name).read_text(errors="replace")
                    raise part.explained(log) or PartError(
                        f"{part.name} ended while starting: {_last_words(log)}",
                        f"read {self.logs(part.name)}",
                    )
                if time.monotonic() - since > part.ready_within.total_seconds():
                    raise PartError(
                        f"{part.name} did not answer within {part.ready_within.total_seconds():.0f} s",
                        f"read {self.logs(part.name)}; on a busy machine try again",
                    )
                time.sleep(_POLL_S)

    def _stop(self, parts: list[Part], record: StackRecord) -> StackRecord:
        processes.stop(
            (record.processes[part.name], part.stop_within) for part in parts if part.name in record.processes
        )
        stopped = {part.name for part in parts}
        return self._written(record, {name: facts for name, facts in record.processes.items() if name not in stopped})

    def _written(self, record: StackRecord, running: dict[str, ProcessFacts]) -> StackRecord:
        stack = msgspec.structs.replace(
            record.stack, state="up" if running else "down", api=record.stack.api if running else None
        )
        record = msgspec.structs.replace(record, stack=stack, processes=running)
        state.write(self.home, self.mode, record)
        return record

    def _known_part(self, name: str) -> tuple[StackRecord, Part]:
        self.logs(name)
        record = state.read(self.home, self.mode)
        if not record.ports:
            raise StackUnknownError(f"no {self.mode} stack was started in {self.home}", "run: memstream stack up")
        return record, next(part for part in self._parts(record) if part.name == name)

    def _part_status(self, part: Part, record: StackRecord) -> PartStatus:
        facts = record.processes.get(part.name)
        runs = _runs(record, part)
        condition: Literal["ready", "deaf", "dead"] = "dead" if not runs else "ready" if part.is_ready() else "deaf"
        return PartStatus(
            name=part.name,
            condition=condition,
            pid=facts.pid if facts and runs else None,
            address=part.address,
            log=self.logs(part.name),
        )


def _port_widths(mode: Mode) -> dict[str, int]:
    light = Kafka.port_widths | Redis.port_widths
    return light | Weaviate.port_widths if mode == "full" else light


def _runs(record: StackRecord, part: Part) -> bool:
    facts = record.processes.get(part.name)
    return facts is not None and processes.is_alive(facts)


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
