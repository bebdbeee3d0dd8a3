"""Dead letters: which are open, what stands in them, and their way back.

Blocking; from an event loop, use `asyncio.to_thread`.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas import headers
from schemas.codec import DecodeError
from schemas.headers import Headers, Origin
from schemas.outcome import DeadLetter, Reason, Redriven
from streams.clients.log_scan import LogScan
from streams.clock import Clock
from streams.engine import kafka
from streams.errors import FencedError, TransientError, UsageError
from streams.settings import Settings
from topology import graph, keys, topics

_CALL_TIMEOUT_S = 30.0
_FLUSH_STEP_S = 0.2
_AT_ONCE = 100
_AT_ONCE_BYTES = 4 * 1024 * 1024
"""One transaction of a redrive; it must end within the broker's limit for transactions."""


class LetterPlace(NamedTuple):
    """Names one dead letter: who could not handle what."""

    stage: str
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """For people: `record/conversation.events/2/43`; the topic without its version, which the stage implies."""
        return f"{self.stage}/{_without_version(self.topic)}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "LetterPlace":
        """The inverse of `str`.

        Raises:
            UsageError: it names no letter.
        """
        if named := re.fullmatch(r"([a-z]+)/([^/]+)/([0-9]+)/([0-9]+)", text):
            for spec in graph.GRAPH:
                if spec.name == named[1] and named[2] in (spec.reads.name, _without_version(spec.reads.name)):
                    return cls(spec.name, spec.reads.name, int(named[3]), int(named[4]))
        raise UsageError(
            f"{text!r} is no name of a dead letter",
            next_step="names are STAGE/TOPIC/PARTITION/OFFSET, as `memstream dlq list` prints them",
        )


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without its bytes.

    Attributes:
        name: names it in commands.
        stage: who could not handle it.
        topic: where it stood, with `partition` and `offset`.
        reason: the class of the failure.
        error: the failure in words.
        attempts: how often the stage tried.
        size_bytes: of its value.
        failed_at: when the stage gave up.
        redriven_at: when it went back; none while it is open.
    """

    name: str
    stage: str
    topic: str
    partition: int
    offset: int
    reason: Reason
    error: str
    attempts: int
    size_bytes: int
    failed_at: datetime
    redriven_at: datetime | None = None


class LetterBook:
    """Which letters there are, folded from `memory.dlq`; without their bytes, so that it stays small.

    Attributes:
        open: letters that were not redriven, in log order within each partition.
        redriven: letters that were.
        unreadable: records of a schema from the future.
    """

    def __init__(self) -> None:
        self.open: dict[LetterPlace, Heading] = {}
        self.redriven: dict[LetterPlace, Heading] = {}
        self.unreadable = 0

    def take(self, message: Message) -> None:
        """Take in one record of the topic."""
        record = read_record(message)
        if record is None:
            self.unreadable += 1
            return
        place = place_of(record)
        if isinstance(record, DeadLetter):
            self.open[place] = _heading(record)
        elif (heading := self.open.pop(place, None)) is not None:
            self.redriven[place] = msgspec.structs.replace(heading, redriven_at=record.redriven_at)


def read_record(message: Message) -> DeadLetter | Redriven | None:
    """The record in a message of the topic, or none when a newer version of ours wrote it."""
    value: Any = message.value()
    try:
        record: DeadLetter | Redriven = topics.DLQ.codec.decode(value)
    except DecodeError:
        return None
    return record


def place_of(record: DeadLetter | Redriven) -> LetterPlace:
    """Which letter a record speaks of."""
    return LetterPlace(record.stage, record.topic, record.partition, record.offset)


def read_book(scan: LogScan, *, with_open: bool = False) -> LetterBook:
    """All letters as of now; `with_open` waits for those that are being written just now.

    Raises:
        UsageError: the topics do not exist.
        TransientError: the broker is away.
    """
    book = LetterBook()
    for message in scan.read_all(topics.DLQ, with_open=with_open):
        book.take(message)
    return book


def read_letters(scan: LogScan, wanted: Collection[LetterPlace]) -> Iterator[DeadLetter]:
    """Letters whole, one at a time; where one was written twice, each time."""
    partitions = {place.partition for place in wanted}  # letters stand in the partition they come from
    for message in scan.read_all(topics.DLQ, partitions):
        record = read_record(message)
        if isinstance(record, DeadLetter) and place_of(record) in wanted:
            yield record


class LeftBehind(msgspec.Struct, frozen=True):
    """A letter that cannot go back as things are.

    Attributes:
        name: names it in commands.
        reason: why, and what to do about it.
    """

    name: str
    reason: str


class SentBack(msgspec.Struct):
    """What became of a redrive.

    Attributes:
        redriven: how many letters went back.
        left: those that did not, and are still open.
    """

    redriven: int = 0
    left: list[LeftBehind] = []


class Redrive:
    """Sends dead letters back to where they came from. Use it as a context manager.

    Guarantees: a letter goes back together with the note that it did, in one transaction, so a crash neither loses nor
    doubles it. Of two redrives at once the later one wins: it ends the other's transaction before it looks which
    letters are open. A letter from `conversation.events` is read again only by the lane that failed, and keeps the
    offset and time it first had. Not promised: that the stage can handle it now; if not, it is a new letter.

    Args:
        settings: where Kafka is.
        clock: what time it is.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._namespace = settings.kafka.namespace
        self._clock = clock
        self._scan = LogScan(settings.kafka, client_id="memstream.redrive")
        transactional_id = keys.transactional_id(
            "redrive", "dlq", namespace=self._namespace, generation=settings.worker.generation
        )
        self._config = kafka.transactional_producer(
            settings.kafka, client_id="memstream.redrive", transactional_id=transactional_id
        )
        self._producer: Producer

    def __enter__(self) -> Self:
        self._producer = Producer(self._config)
        try:
            self._producer.init_transactions(_CALL_TIMEOUT_S)
        except KafkaException as error:
            raise _translated(error.args[0]) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is under way: every transaction has ended."""

    def send_back(self, wanted: Collection[LetterPlace], *, sent: Callable[[int], None]) -> SentBack:
        """Send letters back that are still open; one that does not fit into its topic keeps no other from going.

        Args:
            wanted: which ones; those that were redriven meanwhile are passed over.
            sent: called with how many went back, after each transaction.

        Returns:
            How many went back, and which did not fit.

        Raises:
            TransientError: the broker is away; what went back is noted, the rest is still open.
            FencedError: another redrive has taken over.
        """
        still_open = read_book(self._scan, with_open=True).open.keys() & set(wanted)
        done = SentBack()
        batch: dict[LetterPlace, DeadLetter] = {}
        size_bytes = 0
        for letter in read_letters(self._scan, still_open):
            batch[place_of(letter)] = letter
            size_bytes += len(letter.value or b"")
            if len(batch) >= _AT_ONCE or size_bytes >= _AT_ONCE_BYTES:
                self._send(list(batch.values()), done, sent)
                batch, size_bytes = {}, 0
        if batch:
            self._send(list(batch.values()), done, sent)
        return done

    def _send(self, letters: Sequence[DeadLetter], done: SentBack, sent: Callable[[int], None]) -> None:
        """In one transaction, or in halves when one of them is too large.

        Sizes tell nothing beforehand: the topic's limit is for what is left of a batch when it is compressed, and a
        letter goes back with two headers more than it came with.
        """
        try:
            self._commit(letters)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise _translated(cause) from error
            if len(letters) > 1:
                middle = len(letters) // 2
                self._send(letters[:middle], done, sent)
                self._send(letters[middle:], done, sent)
                return
            topic = self._namespace + letters[0].topic
            reason = f"too large for its topic ({cause.str()}); raise max.message.bytes of {topic}, then redrive it"
            done.left.append(LeftBehind(str(place_of(letters[0])), reason))
        else:
            done.redriven += len(letters)
        sent(len(letters))

    def _commit(self, letters: Sequence[DeadLetter]) -> None:
        try:
            self._transact(letters)
        except KafkaException as error:
            if error.args[0].code() not in kafka.PURGED:
                raise
            # librdkafka 2.16 counts a refused record's sequence number on: what comes next in that partition is out of
            # order, and only the abort of that sets it right.
            self._transact(letters)

    def _transact(self, letters: Sequence[DeadLetter]) -> None:
        producer = self._producer
        producer.begin_transaction()
        try:
            for letter, (to_partition, to_offset) in zip(letters, self._write(letters), strict=True):
                self._note(letter, to_partition, to_offset)
            producer.commit_transaction(_CALL_TIMEOUT_S)
        except BaseException as error:
            if not (isinstance(error, KafkaException) and error.args[0].fatal()):
                producer.abort_transaction(_CALL_TIMEOUT_S)
            raise

    def _write(self, letters: Sequence[DeadLetter]) -> list[tuple[int, int]]:
        """The letters' records as they were, and where they stand now."""
        places: dict[int, tuple[int, int]] = {}
        errors: list[KafkaError] = []

        def delivered(index: int) -> Callable[[KafkaError | None, Message], None]:
            def note(error: KafkaError | None, message: Message) -> None:
                partition, offset = message.partition(), message.offset()
                if error is not None:
                    errors.append(error)
                elif partition is not None and offset is not None:
                    places[index] = (partition, offset)

            return note

        failed: KafkaException | None = None
        for index, letter in enumerate(letters):
            try:
                self._producer.produce(
                    self._namespace + letter.topic,
                    partition=letter.partition,
                    key=letter.key,
                    value=letter.value,
                    headers=list(redriven_headers(letter)),
                    on_delivery=delivered(index),
                )
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE:  # noqa: SLF001
                    raise
                failed = error  # one of those before was refused, and its delivery will say why
                break
        ends_at_s = self._clock.monotonic_s() + _CALL_TIMEOUT_S
        # What stands behind a refused one in its partition is never taken.
        while self._producer.flush(_FLUSH_STEP_S) and not errors:
            if self._clock.monotonic_s() > ends_at_s:
                raise TransientError("Kafka did not take the letters in time; they are still open")
        if errors:
            raise KafkaException(errors[0])
        if failed is not None:
            raise failed
        return [places[index] for index in range(len(letters))]

    def _note(self, letter: DeadLetter, to_partition: int, to_offset: int) -> None:
        note = Redriven(
            stage=letter.stage,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            redriven_at=self._clock.now(),
            to_partition=to_partition,
            to_offset=to_offset,
        )
        self._producer.produce(
            topics.DLQ.in_namespace(self._namespace),
            partition=letter.partition,
            key=letter.key,
            value=topics.DLQ.codec.encode(note),
        )


def redriven_headers(letter: DeadLetter) -> Headers:
    """The headers of a letter on its way back: its own, and from `conversation.events` its origin and its lane."""
    kept = [(name, value) for name, value in letter.headers if value is not None and name != headers.LANE]
    lane = graph.stage(letter.stage).lane
    if letter.topic != topics.CONVERSATION_EVENTS.name or lane is None:
        return kept
    origin = Origin(letter.partition, letter.offset, round(letter.recorded_at.timestamp() * 1000))
    return [*headers.with_origin(kept, origin), (headers.LANE, lane.value.encode())]


def _heading(letter: DeadLetter) -> Heading:
    return Heading(
        name=str(place_of(letter)),
        stage=letter.stage,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        reason=letter.reason,
        error=letter.error,
        attempts=letter.attempts,
        size_bytes=len(letter.value or b""),
        failed_at=letter.failed_at,
    )


def _without_version(topic: str) -> str:
    return re.sub(r"\.v\d+$", "", topic)


def _translated(cause: KafkaError) -> Exception:
    if cause.fatal() or cause.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH):  # noqa: SLF001
        return FencedError("another redrive has taken over; it sends back what is still open")
    return TransientError(f"Kafka: {cause.str()}; letters that did not go back are still open")
