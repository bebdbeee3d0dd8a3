"""What every contender is told, and what it tells: standard library only, because peers run it in their own Python.

A contender is a module of `benchmarks.engine.contenders`, started as a process with a mode and a task. It reads the
task's topic from its beginning and prints one line of JSON when it has seen every record, or when its time is up.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import NoReturn

_GRACE_S = 60.0
"""For starting, joining the group and leaving it."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a contender shall do.

    Attributes:
        bootstrap_servers: of the broker.
        topic: to read, from its beginning.
        partitions: of that topic and of the output topic.
        records: how many records the topic holds.
        run: names the consumer group and the transactional id; never used twice.
        output: where to write one output for each record; none for contenders that only read.
        ledger: where a contender that is ours in all but the engine writes one record a transaction.
        batch: events of one transaction, or of one micro-batch, for contenders that can be told.
        limit_s: stop after so long, with what has been seen by then.
    """

    bootstrap_servers: str
    topic: str
    partitions: int
    records: int
    run: int
    output: str | None
    ledger: str
    batch: int
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a contender found.

    Attributes:
        records: seen; of one that writes, those whose outputs are committed.
        seconds: from the first record to the last, commits included.
        cpu_s: processor seconds that the process used meanwhile.
        in_order: whether what was seen of each partition is its offsets from 0 on, each once and in order.
        transactions: in which they were settled; 0 where there are none.
        options: what it was set to, where that is not its default.
    """

    records: int
    seconds: float
    cpu_s: float
    in_order: bool
    transactions: int = 0
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def rate_per_s(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    @classmethod
    def parse(cls, output: str) -> "Result":
        """The result in a contender's standard output: its last line.

        Raises:
            ValueError: there is none.
        """
        lines = output.strip().splitlines()
        if not lines:
            raise ValueError("the contender printed nothing")
        return cls(**json.loads(lines[-1]))


class Tally:
    """Counts records and times them; what it keeps of each is its offset, so that the check can be exact.

    Attributes:
        offsets: by partition, in the order they were seen.
        records: how many.
        transactions: for contenders to count up.
    """

    def __init__(self, task: Task) -> None:
        self._wanted = task.records
        self._limit_s = task.limit_s
        self._begun: tuple[float, float] | None = None
        self._ended: tuple[float, float] | None = None
        self.offsets: list[list[int]] = [[] for _ in range(task.partitions)]
        self.records = 0
        self.transactions = 0

    def begin(self) -> None:
        """The first record is here; later calls do nothing."""
        if self._begun is None:
            self._begun = (time.monotonic(), time.process_time())

    def add(self, partition: int, offset: int) -> None:
        """One record has been seen."""
        self.offsets[partition].append(offset)
        self.records += 1

    def add_all(self, partition: int, offsets: Iterable[int]) -> None:
        """Records of one partition have been seen."""
        seen = self.offsets[partition]
        before = len(seen)
        seen.extend(offsets)
        self.records += len(seen) - before

    @property
    def is_over(self) -> bool:
        """Whether everything has been seen, or the time is up."""
        return self.records >= self._wanted or (
            self._begun is not None and time.monotonic() - self._begun[0] >= self._limit_s
        )

    def end(self) -> None:
        """The last record is settled."""
        self._ended = (time.monotonic(), time.process_time())

    def result(self, **options: object) -> Result:
        """What was found, after `begin` and `end`."""
        assert self._begun is not None
        assert self._ended is not None
        return Result(
            records=self.records,
            seconds=self._ended[0] - self._begun[0],
            cpu_s=self._ended[1] - self._begun[1],
            in_order=all(seen == list(range(len(seen))) for seen in self.offsets),
            transactions=self.transactions,
            options={name: str(value) for name, value in options.items()},
        )


def number_of(value: bytes) -> int:
    """The number of an event: `benchmarks.engine.events` writes it as its id."""
    return int(json.loads(value)["event_id"])


def place_of(number: int, partitions: int) -> tuple[int, int]:
    """The partition and offset of an event: they are dealt out in turns."""
    return number % partitions, number // partitions


def finish(result: Result) -> NoReturn:
    """Print the result and end at once: stopping is not measured, and stock Faust may never come to an end of it."""
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    sys.stdout.flush()
    os._exit(0)


def main(modes: Mapping[str, Callable[[Task], Result]]) -> NoReturn:
    """Run the mode and the task that the command line names, and print the result.

    Args:
        modes: what this contender can do.
    """
    mode, task = sys.argv[1], Task(**json.loads(sys.argv[2]))
    signal.alarm(int(task.limit_s + _GRACE_S))  # one that hangs, before its first record too, is ended by the kernel
    finish(modes[mode](task))
