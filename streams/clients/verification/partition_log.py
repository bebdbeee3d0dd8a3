"""One partition of all topics, read in the order that makes verification safe while everything is running.

1. Committed positions come first: what lies behind them is pending.
2. Then the topics, downstream before upstream and state before what it sums up. Whatever a record speaks of was
   committed with it or before it, and so is there when its topic is read later.
3. Each topic is read up to its end including open transactions, which waits for commits that are just ending.

The ledger is the exception to "one partition": a batch writes all of its entries to its lowest partition, so what is
said about partition p stands in any up to p (`ledger_partitions`), in older logs in p. All of these are read anew for
each p, at its turn in this order, and only what is about p is kept: memory stays bounded by one partition's entries,
for 0.3 to 4 us of decoding for each entry that is passed over. An entry that stands where nobody looks for it is named
when the partition it stands in is verified.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from confluent_kafka import Message

from schemas import headers
from schemas.candidate import Candidate, Lane, Watermark
from schemas.codec import DecodeError
from schemas.ids import UserKey
from schemas.indexed import Indexed
from schemas.memory import Head, MemoryChange
from schemas.outcome import DeadLetter, LedgerEntry, Redriven
from streams.clients.log_scan import LogScan
from streams.clients.verification import books
from streams.clients.verification.findings import Fault, Kind
from streams.clients.verification.revisions import PartitionFold, RevisionCheck
from streams.clients.verification.watermarks import WatermarkCheck
from streams.engine.raw_record import headers_of, offset_of, partition_of
from topology import topics
from topology.graph import GRAPH, StageName, stage
from topology.topics import TopicSpec, ledger_partitions

Wanted = Callable[[UserKey], bool]
"""Whether a user is within the scope."""
Advance = Callable[[int], None]
"""Told how many offsets were read."""

_PROGRESS_EVERY = 1000


class PartitionLog:
    """Reads one partition of all topics and judges it.

    Args:
        scan: reads.
        partition: which one.
        positions: stage to its committed offset, taken before anything is read.
        wanted: users in scope.
        advance: told about progress.

    Attributes:
        fold: what the changes give.
        faults: what was found.
        kept: topic to the offsets that are kept of it.
        settled_to: stage to what lies behind the last record that its entries speak of.
        tallies: stage to how its books add up.
        heads: how many heads there are, of users in scope.
    """

    def __init__(
        self,
        scan: LogScan,
        partition: int,
        *,
        positions: Mapping[str, int],
        wanted: Wanted = lambda _: True,
        advance: Advance = lambda _: None,
    ) -> None:
        self._scan = scan
        self._partition = partition
        self._positions = positions
        self._wanted = wanted
        self._advance = advance
        self._offsets: dict[str, array[int]] = {}
        self._watermarks: dict[str, WatermarkCheck] = {}
        self.fold = PartitionFold(position=positions[StageName.INDEX])
        self._announced: dict[UserKey, int] = {}
        self.kept: dict[str, range] = {}
        self.settled_to: dict[str, int] = {}
        self.faults: list[Fault] = []
        self.tallies: dict[str, books.Tally] = {}
        self.heads = 0

    def read_changes(self) -> None:
        """Heads, notices and changes: all that the store is compared with."""
        heads_know = self._scan.bounds(topics.CHANGES)[self._partition].stop
        heads: dict[UserKey, Head] = {}
        for _, head in self._events(topics.HEADS):
            if self._wanted(head.user):
                heads[head.user] = head
        self.heads = len(heads)
        marks = self._watermarks[topics.INDEXED.name] = WatermarkCheck(topics.INDEXED.name, self._partition)
        for message, notice in self._events(topics.INDEXED):
            self._announce(notice)
            for mark in notice.watermarks:
                self.faults += marks.mark(offset_of(message), mark)
        partitions = len(self._scan.bounds(topics.CHANGES))
        check = RevisionCheck(partition=self._partition, partitions=partitions, heads=heads, heads_know=heads_know)
        marks = self._watermarks[topics.CHANGES.name] = WatermarkCheck(topics.CHANGES.name, self._partition)
        for message, event in self._events(topics.CHANGES):
            offset = offset_of(message)
            if isinstance(event, Watermark):
                self.faults += marks.mark(offset, event)
            elif self._wanted(event.user):
                self._change(check, offset, event, message)
        self.faults += check.finish()

    def read_on(self) -> None:
        """Take in the changes and notices that were committed since; revisions are judged no further."""
        for message, event in self._events(topics.CHANGES, start=self.kept[topics.CHANGES.name].stop):
            if isinstance(event, MemoryChange) and self._wanted(event.user):
                self.fold.take(offset_of(message), event, head_of(message))
        for _, notice in self._events(topics.INDEXED, start=self.kept[topics.INDEXED.name].stop):
            self._announce(notice)

    def read_books(self) -> None:
        """Everything else: candidates, conversation events, ledger and dead letters; comes behind `read_changes`.

        Not for a partition whose ledger a hanging transaction holds up: its books would seem to lack entries.
        """
        self._read_candidates(topics.EMBEDDED)
        late = self._read_candidates(topics.CANDIDATES)
        for _ in self._messages(topics.CONVERSATION_EVENTS):
            pass
        entries = self._read_ledger()
        letters: dict[str, Counter[int]] = defaultdict(Counter)
        redriven: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        copies: dict[str, set[int]] = defaultdict(set)
        for _, record in self._events(topics.DLQ):
            match record:
                case DeadLetter():
                    letters[record.stage][record.offset] += 1
                case Redriven():
                    redriven[record.stage][record.offset].append(record.to_offset)
                    copies[record.topic].add(record.to_offset)
        self.faults += late.late_candidates(redriven=copies[topics.CANDIDATES.name])
        self._check_ahead({lane: _last_settled(entries[stage(lane).name]) for lane in Lane})
        for spec in GRAPH:
            page = books.Page(
                stage=spec.name,
                topic=spec.reads.name,
                partition=self._partition,
                offsets=np.array(self._offsets[spec.reads.name], dtype=np.int64),
                kept_from=self.kept[spec.reads.name].start,
                read_to=self.kept[spec.reads.name].stop,
                position=self._positions[spec.name],
                entries=entries[spec.name],
                letters=letters[spec.name],
                redriven=redriven[spec.name],
            )
            self.tallies[spec.name] = books.tally(page)
            self.settled_to[spec.name] = _last_settled(page.entries) + 1
            for check in (books.check_outcomes, books.check_entries, books.check_letters):
                self.faults += check(page)

    def announced(self, user: UserKey) -> int:
        """The newest revision that index said the store has; where no notice is kept any more, what it settled."""
        return max(self._announced.get(user, 0), self.fold.settled(user).revision)

    def _change(self, check: RevisionCheck, offset: int, change: MemoryChange, message: Message) -> None:
        known = self.fold.users.get(change.user)
        before = 0 if known is None else known.revision
        head = head_of(message)
        after = self.fold.take(offset, change, head)
        has_vector = headers.get(headers_of(message), headers.VECTOR) is not None
        self.faults += check.judge(offset, change, head=head, has_vector=has_vector, before=before, after=after)

    def _announce(self, notice: Indexed) -> None:
        for indexed in notice.users:
            user = UserKey(indexed.tenant, indexed.user_id)
            self._announced[user] = max(self._announced.get(user, 0), indexed.revision)

    def _read_candidates(self, spec: TopicSpec) -> WatermarkCheck:
        check = self._watermarks[spec.name] = WatermarkCheck(spec.name, self._partition)
        for message, event in self._events(spec, may_be_strange=True):
            if isinstance(event, Watermark):
                self.faults += check.mark(offset_of(message), event)
            elif isinstance(event, Candidate):
                check.candidate(offset_of(message), event)
        return check

    def _read_ledger(self) -> dict[str, list[LedgerEntry]]:
        """By stage, the entries about this partition; faults are those of the ledger's partition of this number."""
        entries: dict[str, list[LedgerEntry]] = defaultdict(list)
        bounds = self._scan.bounds(topics.LEDGER, with_open=True)
        for message in self._read(topics.LEDGER, {p: bounds[p] for p in ledger_partitions(self._partition)}):
            is_here = message.partition() == self._partition
            for entry in self._decoded(topics.LEDGER, message, may_be_strange=not is_here):
                if entry.partition == self._partition:
                    entries[entry.stage].append(entry)
                elif is_here and not self._partition < entry.partition < len(bounds):
                    said = f"{_place(topics.LEDGER, message)}: speaks of {entry.topic} {entry.partition}"
                    self.faults.append(Fault(Kind.MISPLACED_ENTRY, said))
        return entries

    def _check_ahead(self, settled: Mapping[Lane, int]) -> None:
        of, limits = "the ledger", settled
        for spec in (topics.CANDIDATES, topics.EMBEDDED, topics.CHANGES, topics.INDEXED):
            check = self._watermarks[spec.name]
            self.faults += check.check_ahead(limits, of=of)
            of, limits = spec.name, check.reached

    def _events(
        self, spec: TopicSpec, *, start: int = 0, may_be_strange: bool = False
    ) -> Iterator[tuple[Message, Any]]:
        """Records with their events; one that cannot be read is a fault, unless its stage dead-letters such records."""
        for message in self._messages(spec, start=start):
            for event in self._decoded(spec, message, may_be_strange=may_be_strange):
                yield message, event

    def _decoded(self, spec: TopicSpec, message: Message, *, may_be_strange: bool) -> Iterator[Any]:
        """The record's event; nothing of a deletion marker, nor of what cannot be read."""
        value: Any = message.value()
        if value is None:
            return
        try:
            event = spec.codec.decode(value)
        except DecodeError as error:
            if not may_be_strange:
                self.faults.append(Fault(Kind.UNREADABLE, f"{_place(spec, message)}: {error}"))
        else:
            yield event

    def _messages(self, spec: TopicSpec, *, start: int = 0) -> Iterator[Message]:
        kept = self._scan.bounds(spec, with_open=True)[self._partition]
        before = self.kept.setdefault(spec.name, kept)
        self.kept[spec.name] = range(before.start, kept.stop)
        offsets = self._offsets.setdefault(spec.name, array("q"))
        for message in self._read(spec, {self._partition: range(max(start, kept.start), kept.stop)}):
            offsets.append(offset_of(message))
            yield message

    def _read(self, spec: TopicSpec, ranges: Mapping[int, range]) -> Iterator[Message]:
        """The records in these offsets, telling on the way how many were read."""
        told = {partition: wanted.start for partition, wanted in ranges.items()}
        for message in self._scan.read(spec, ranges):
            partition, offset = partition_of(message), offset_of(message)
            if offset - told[partition] >= _PROGRESS_EVERY:
                self._advance(offset - told[partition])
                told[partition] = offset
            yield message
        self._advance(sum(max(0, wanted.stop - told[partition]) for partition, wanted in ranges.items()))


def head_of(message: Message) -> Head | None:
    """The head that came along with a change, if any."""
    raw = headers.get(headers_of(message), headers.HEAD)
    return None if raw is None else topics.HEADS.codec.decode(raw)


def _last_settled(entries: Sequence[LedgerEntry]) -> int:
    return max((entry.last_offset for entry in entries), default=-1)


def _place(spec: TopicSpec, message: Message) -> str:
    return f"{spec.name} {message.partition()}/{message.offset()}"
