"""Publishing conversation events: validated, ordered per user, acknowledged."""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas import headers
from schemas.codec import CONVERSATION_EVENTS, DecodeError
from schemas.conversation import ConversationEvent, Idle
from streams.engine import kafka
from streams.errors import TransientError, UsageError
from streams.settings import Settings
from topology import keys, topics

Publishable = ConversationEvent | Mapping[str, Any] | bytes
"""An event as a typed object, as a dictionary, or as the JSON bytes of one (which go out unchanged)."""


_UNWRITABLE = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)
"""What writing JSON may raise: for a type or number that it does not have, half a character, a loop."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Where a published event stands; readers can wait for it.

    Attributes:
        topic: the topic.
        partition: the user's partition.
        offset: its place.
        event_id: its id, if the publisher gave one.
    """

    topic: str
    partition: int
    offset: int
    event_id: str | None


class ConversationPublisher:
    """Publishes conversation events.

    Use it as an async context manager; it may be shared by any number of tasks.

    Guarantees: when `publish` returns, the event is in the log, on all replicas that the topic asks for; events of one
    user that one task publishes one after the other stand in that order. An event that was published twice (after a
    timeout, say) changes nothing if it has an `event_id`. Not promised: that the event has been processed.

    Whatever is no conversation event, by its form, a field's type or a value, is refused with `UsageError`, which says
    which field and what it may be; the forms are in docs/events.md. Only an event made with a value that none can have
    (a slash in `tenant`, say) fails before it gets here, with `ValueError`.

    Args:
        settings: where Kafka is.
        source: this publisher's name, as CloudEvents `source`.
    """

    def __init__(self, settings: Settings, *, source: str = "memstream/publisher") -> None:
        self._settings = settings
        self._source = source
        self._topic = settings.kafka.namespace + topics.CONVERSATION_EVENTS.name
        self._codec = CONVERSATION_EVENTS.limited_to(settings.worker.max_event_bytes)
        self._producer: Producer | None = None
        self._poller: threading.Thread | None = None
        self._closing = threading.Event()
        self._loop: asyncio.AbstractEventLoop

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            kafka.producer(self._settings.kafka, client_id="memstream.publisher")
            | {"linger.ms": 5, "delivery.timeout.ms": 30_000}
        )
        self._closing.clear()
        self._poller = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._poller.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for what is under way, then let go."""
        producer, poller = self._producer, self._poller
        assert producer is not None
        assert poller is not None
        await self._loop.run_in_executor(None, producer.flush, 30.0)
        self._closing.set()
        await self._loop.run_in_executor(None, poller.join)
        self._producer = None

    async def publish(self, event: Publishable) -> Receipt:
        """Publish one event and wait until the log has it.

        Raises:
            UsageError: it is no conversation event; nothing was sent.
            TransientError: Kafka did not acknowledge it in time. Publish it again, with the same `event_id`.
        """
        return await self.send(event)

    async def publish_many(self, events: Iterable[Publishable]) -> list[Receipt]:
        """Publish events in order and wait until the log has all of them.

        Raises:
            UsageError: one of them is no conversation event; those before it were sent.
            TransientError: Kafka did not acknowledge one of them in time.
        """
        return await asyncio.gather(*[self.send(event) for event in events])

    def send(self, event: Publishable) -> "asyncio.Future[Receipt]":
        """Hand one event over and return at once; the future ends with its receipt.

        Raises:
            UsageError: it is no conversation event; nothing was sent.
            TransientError: the local buffer is full: wait for some receipts first.
        """
        assert self._producer is not None, "use it as `async with ConversationPublisher(...)`"
        typed, value = self._checked(event)
        receipt: asyncio.Future[Receipt] = self._loop.create_future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._loop.call_soon_threadsafe(_settle, receipt, typed.event_id, error, message)

        try:
            self._producer.produce(
                self._topic,
                key=keys.user_key_bytes(typed.user),
                value=value,
                headers=list(self._headers(typed)),
                on_delivery=delivered,
            )
        except BufferError:
            raise TransientError("too many events are waiting to be acknowledged") from None
        except KafkaException as error:
            raise TransientError(f"Kafka: {error.args[0].str()}") from error
        return receipt

    def _checked(self, event: Publishable) -> tuple[ConversationEvent, bytes]:
        value = event if isinstance(event, bytes) else _encoded(event)
        try:
            typed = self._codec.decode(value)
        except DecodeError as error:
            raise _no_event(f"({error.reason}): {error}") from None
        if isinstance(typed, Idle):
            raise UsageError("idle markers are ours", next_step="publish conversation_ended to close a conversation")
        return typed, value

    def _headers(self, event: ConversationEvent) -> headers.Headers:
        attributes = headers.cloudevent(
            event_id=event.event_id or "",
            event_type=headers.EVENT_TYPE_PREFIX + str(event.__struct_config__.tag),
            source=self._source,
            time=event.occurred_at,
        )
        # CloudEvents wants a non-empty id; without one of the publisher's, the record's place is the id.
        return attributes if event.event_id else [(name, value) for name, value in attributes if name != "ce_id"]

    def _poll(self) -> None:
        assert self._producer is not None
        while not self._closing.is_set():
            self._producer.poll(0.1)


def _encoded(event: ConversationEvent | Mapping[str, Any]) -> bytes:
    """The JSON of an event whose fields may be of any type."""
    fields: Any = dict(event) if isinstance(event, Mapping) else event
    for name, value in _fields(fields):
        if isinstance(value, bytes | bytearray | memoryview):  # they would go out as base64
            raise _no_event(f"(undecodable): Expected text, got `{type(value).__name__}` - at `$.{name}`")
    try:
        return msgspec.json.encode(fields)
    except _UNWRITABLE as error:
        place = next((f" - at `$.{name}`" for name, value in _fields(fields) if not _is_writable(value)), "")
        raise _no_event(f"(undecodable): {error}{place}") from None


def _fields(event: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(event, dict):
        return event.items()
    return [(name, getattr(event, name)) for name in getattr(event, "__struct_fields__", ())]


def _is_writable(value: Any) -> bool:
    try:
        msgspec.json.encode(value)
    except _UNWRITABLE:
        return False
    return True


def _no_event(why: str) -> UsageError:
    return UsageError(
        f"not a conversation event {why}", next_step="the forms are in docs/events.md and `memstream schemas export`"
    )


def _settle(
    receipt: "asyncio.Future[Receipt]", event_id: str | None, error: KafkaError | None, message: Message
) -> None:
    if receipt.done():
        return
    if error is not None:
        receipt.set_exception(TransientError(f"Kafka did not take the event: {error.str()}"))
        return
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    receipt.set_result(Receipt(topic=topic, partition=partition, offset=offset, event_id=event_id))
