"""How records get in: a thread that polls librdkafka, owns every call on the consumer, and hands chunks to the loop.

The thread polls from its own start, because librdkafka joins the group inside `poll`. Everything else that wants the
consumer is done between two polls, in this thread: a call from another one starves behind `poll` for seconds
(`faust-hazards.md` 8a). The group's metadata is taken here too, together with the records that it belongs to.

More than 400 lines because everything that touches the consumer belongs to its one thread.
"""

import asyncio
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.engine import marks
from streams.engine.chunk import Chunk, Lease, record_bytes
from streams.engine.out_of_range import out_of_range
from streams.engine.raw_record import offset_of
from streams.errors import FencedError, TransientError

log = structlog.get_logger("memstream.engine")

_POLL_S = 0.1
"""A poll returns at once when there is a record; this bounds how long a pause, resume or stop waits."""

_MAX_RECORDS = 4000
"""Records of one fetch; chunks of about 3,500 were the fastest in the spike (`native-stack.md`)."""

_METADATA_EVERY_POLLS = 16
"""Besides each rebalance. Taking it asks another thread of the client, and holds the interpreter meanwhile (measured:
170 of 3,000 ms under load). What is out of date is refused by the broker, and the commit tried again."""

_ASKED_AGAIN_AFTER_S = 0.05
_COMMITTED_ASKED_S = 1.0
"""A predecessor's transaction can stay open for 10 s, and the offset is not stable until it ends; but metadata ages
meanwhile: under the new group protocol a member's epoch moves on although it sits in its callback."""

_ROOM_WITHIN_S = 1.0
"""As long as librdkafka 2.16 takes to fetch again once it is resumed (measured: 0.8 s; a stage that is faster than its
limit of bytes a second stood still most of the time). Nothing is polled meanwhile: a rebalance may wait so long."""

_UNASSIGNED_FOR_S = 60.0
"""A client that has lost its partitions and is given none for so long, not even an assignment of nothing, has lost its
way into the group: librdkafka 2.16 was seen to poll on for ever after its broker had restarted (1 in 19) or had been
halted, while the other clients of the process came back. No rebalance of ours takes so long."""

_STRAYS_FOR_S = 10.0
"""So long after it has its partitions again a client may still be fenced by a request to join of its own, which a
broker that was halted found and took last (seen 1 s after, in 1 of some 30 halts)."""

_MATCHES_NOTHING = "^memstream no topic$"
"""A pattern, by its first character; names of topics have no spaces."""

_COMMIT_ENDS_WITHIN_S = 30.0
"""Longer than a transaction can stay open while the broker is there (10 s)."""


class Owner(Protocol):
    """Who the records are for; called on the event loop."""

    async def settled_before(self, partitions: list[int]) -> Mapping[int, int]:
        """Where partitions go on of which the group has no position; nothing for one that begins at its beginning.

        Raises:
            TransientError: that cannot be told at the moment; it is asked again.
        """

    async def assigned(self, leases: list[Lease]) -> None:
        """New partitions: load their state. They deliver once this returns."""

    async def revoked(self, leases: list[Lease], *, lost: bool) -> None:
        """Partitions that go: end what is open on them, within the deadline, and forget them."""


class Poller:
    """Polls one topic in one consumer group.

    Args:
        config: of the consumer (`streams.engine.kafka.stage_consumer`).
        topic: to subscribe to.
        max_in_flight_bytes: delivered and not yet released; above it, fetching pauses while polling goes on.
        revoke_deadline: how long the owner may take to give partitions back.
        monotonic_s: seconds that never go back.
        make_consumer: builds the client; tests pass their own.
    """

    def __init__(
        self,
        config: dict[str, Any],
        *,
        topic: str,
        max_in_flight_bytes: int,
        revoke_deadline: timedelta,
        monotonic_s: Callable[[], float],
        make_consumer: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self._config = config
        self._topic = topic
        self._max_in_flight_bytes = max_in_flight_bytes
        self._revoke_deadline_s = revoke_deadline.total_seconds()
        self._make_consumer = make_consumer
        self._monotonic_s = monotonic_s
        self._owner: Owner
        self._deliver: Callable[[Chunk], None]
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._ended: asyncio.Future[None]
        self._lock = threading.Lock()
        self._room = threading.Event()
        # Shared, under the lock:
        self._in_flight_bytes = 0
        self._commands: list[Callable[[Consumer], None]] = []
        # The polling thread's own:
        self._leases: dict[int, Lease] = {}
        self._loading: set[int] = set()
        self._early: list[Chunk] = []
        self._paused: set[int] = set()
        self._has_joined = False
        self._lost_at_s: float | None = None
        self._back_at_s = -math.inf
        self._is_strayed = False
        # Written by the polling thread, read by the loop:
        self.group_metadata: Any = None
        self.polls = 0

    # --- the event loop's side ---

    def start(self, owner: Owner, deliver: Callable[[Chunk], None]) -> asyncio.Future[None]:
        """Start polling.

        Returns:
            A future that ends with the thread: with the error that ended it, or with none after `stop`.
        """
        self._owner = owner
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"poll-{self._topic}", daemon=True)
        self._thread.start()
        return self._ended

    async def stop(self) -> None:
        """Give all partitions back (through `Owner.revoked`), leave, and end the thread."""
        self._stopping.set()
        self._room.set()
        if self._thread is not None:
            await self._loop.run_in_executor(None, self._thread.join)
            self._thread = None

    def release(self, size_bytes: int) -> None:
        """So many delivered bytes are done with."""
        with self._lock:
            self._in_flight_bytes -= size_bytes
            if self._in_flight_bytes < self._max_in_flight_bytes:
                self._room.set()

    @property
    def in_flight_bytes(self) -> int:
        """Delivered and not yet released."""
        return self._in_flight_bytes

    @property
    def loading(self) -> frozenset[int]:
        """Partitions that were assigned and do not deliver yet, because their owner loads their state."""
        return frozenset(self._loading)

    # --- the polling thread's side ---

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while not self._stopping.is_set():
                self._poll_with(self._make_consumer(self._config))
        except BaseException as failure:  # noqa: BLE001  (whatever ended the thread ends the stage, with its cause)
            error = failure
        self._loop.call_soon_threadsafe(self._finish, error)

    def _poll_with(self, consumer: Consumer) -> None:
        """Poll until we stop, or until this client has lost its way into the group."""
        try:
            self._has_joined = self._is_strayed = False
            self._subscribe(consumer, [self._topic])
            while not self._stopping.is_set():
                self._step(consumer)
                self.polls += 1
                now_s = self._monotonic_s()
                lost_at_s = now_s if self._lost_at_s is None else self._lost_at_s
                if self._is_strayed or now_s - lost_at_s > _UNASSIGNED_FOR_S:
                    log.warning("consumer_renewed", topic=self._topic, unassigned_s=round(now_s - lost_at_s, 1))
                    if self._leases:
                        self._end(list(self._leases), lost=True)
                    self._lost_at_s = now_s
                    return
        finally:
            consumer.close()

    def _subscribe(self, consumer: Consumer, topics: list[str]) -> None:
        consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def _rebalance_once(self, consumer: Consumer) -> None:
        """Make the group look once at who has what, for the sake of what a predecessor may have left behind.

        A static member that died while it gave partitions back, and is back before its session is over, gets what it
        had kept, without a rebalance; what it had given back nobody gets until the group changes
        (`tests/chaos/static_member_reproduction.py`). Another subscription is such a change, the same one is not.
        """
        self._subscribe(consumer, [self._topic, _MATCHES_NOTHING])

    def _finish(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    def _step(self, consumer: Consumer) -> None:
        self._run_commands(consumer)
        self._wait_for_room()
        self._pause_or_resume(consumer)
        first = consumer.poll(_POLL_S)
        if first is None:
            self._take_metadata(consumer)
            return
        messages = [first, *consumer.consume(_MAX_RECORDS, 0)]
        if self.group_metadata is None or self.polls % _METADATA_EVERY_POLLS == 0:
            self._take_metadata(consumer)
        by_partition: dict[int, list[Message]] = {}
        errors: list[Message] = []
        for message in messages:
            if message.error() is not None:
                errors.append(message)
            else:
                partition = message.partition()
                assert partition is not None
                by_partition.setdefault(partition, []).append(message)
        for partition, records in by_partition.items():
            lease = self._leases.get(partition)
            if lease is None:
                continue
            lease.next_offset = offset_of(records[-1]) + 1
            lease.end_offset = None
            chunk = Chunk(lease, records, record_bytes(records))
            with self._lock:
                self._in_flight_bytes += chunk.size_bytes
            if partition in self._loading:
                # Fetched between assignment and pause: the client will not fetch it again, so it is kept.
                self._early.append(chunk)
            else:
                self._loop.call_soon_threadsafe(self._deliver, chunk)
        # Behind the records: the end of a partition often comes in one fetch with them, and is said only once.
        for message in errors:
            self._on_error(consumer, message)

    def _take_metadata(self, consumer: Consumer) -> None:
        # Before the first assignment there is no member id and no generation, and such metadata fences nobody.
        if self._leases and consumer.memberid():
            self.group_metadata = consumer.consumer_group_metadata()
        else:
            self.group_metadata = None

    def _wait_for_room(self) -> None:
        """Give the stage a moment before fetching is paused: a client that is resumed takes up to a second to fetch."""
        if not self._paused:
            self._room.clear()  # before the look: what is released behind it sets it again
            if self._in_flight_bytes >= self._max_in_flight_bytes and not self._stopping.is_set():
                self._room.wait(_ROOM_WITHIN_S)

    def _run_commands(self, consumer: Consumer) -> None:
        with self._lock:
            commands, self._commands = self._commands, []
        for command in commands:
            command(consumer)

    def _pause_or_resume(self, consumer: Consumer) -> None:
        with self._lock:
            in_flight_bytes = self._in_flight_bytes
        if in_flight_bytes >= self._max_in_flight_bytes:
            wanted = set(self._leases)
        elif self._paused - self._loading and in_flight_bytes > self._max_in_flight_bytes // 2:
            wanted = self._paused & set(self._leases)  # between the marks: leave it as it is
        else:
            wanted = self._loading & set(self._leases)
        if to_pause := wanted - self._paused:
            consumer.pause([TopicPartition(self._topic, p) for p in to_pause])
        if to_resume := (self._paused & set(self._leases)) - wanted:
            consumer.resume([TopicPartition(self._topic, p) for p in to_resume])
        self._paused = wanted

    def _on_error(self, consumer: Consumer, message: Message) -> None:
        error = message.error()
        assert error is not None
        partition = message.partition()
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (librdkafka's own codes start with an underscore)
            lease = self._leases.get(partition) if partition is not None else None
            end = message.offset()
            if lease is not None and end is not None and end >= lease.next_offset:
                lease.end_offset = end
            return
        if error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):  # noqa: SLF001
            raise out_of_range(consumer, message, group=self._config["group.id"])
        if error.code() == KafkaError._FATAL and "group.instance.id" in error.str():  # noqa: SLF001  (only words tell)
            if self._lost_at_s is not None or self._monotonic_s() - self._back_at_s < _STRAYS_FOR_S:
                # It is ourselves that we meet: of several requests to join that a halted broker found when it went on,
                # it took an older one last. A process of another one meets us while we have had partitions for long;
                # should it be one after all, joining again fences it, and it is the one that ends.
                self._is_strayed = True
                return
            raise FencedError(
                f"{self._topic}: another process has this worker's instance name ({error.str()}). It has the partitions"
                " now; name one of them with MEMSTREAM_WORKER_INSTANCE"
            )
        if error.fatal() or not error.retriable():
            if error.code() in _PASSING:
                return
            raise KafkaException(error)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if "group.instance.id" in self._config and not self._has_joined:
            with self._lock:
                self._commands.append(self._rebalance_once)
        self._has_joined = True
        if self._lost_at_s is not None:
            self._lost_at_s, self._back_at_s = None, self._monotonic_s()
        # What other partitions commit meanwhile is of the new generation: this thread may wait long in step 1.
        self._take_metadata(consumer)
        # 1. Read the stable committed offset: it waits for a predecessor's open transaction to end.
        committed = self._stable_offsets(consumer, partitions) if partitions else []
        #    The group may have forgotten what was settled: the owner knows.
        if unknown := [position for position in committed if position.offset < 0]:
            settled = self._settled_before(consumer, [position.partition for position in unknown])
            for position in unknown:
                position.offset = settled.get(position.partition, OFFSET_BEGINNING)
        # 2. Assign exactly there, paused.
        consumer.incremental_assign(committed)
        leases = [Lease(p.partition, max(p.offset, 0), mark=marks.from_text(p.metadata)) for p in committed]
        for lease in leases:
            self._leases[lease.partition] = lease
            self._loading.add(lease.partition)
        if committed:
            consumer.pause(committed)
            self._paused |= {p.partition for p in committed}
        # 3. Let the owner load their state; only then do they deliver. The thread goes on polling meanwhile.
        future = asyncio.run_coroutine_threadsafe(self._loaded(leases), self._loop)
        future.add_done_callback(self._stop_on_failure)

    def _stable_offsets(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """The committed offsets, asked for until they are stable: a coordinator may be away, a transaction open."""
        said = False
        while True:
            try:
                positions = consumer.committed(partitions, _COMMITTED_ASKED_S)
                errors = [position.error for position in positions if position.error is not None]
            except KafkaException as error:
                errors = [error.args[0]]
            if not errors:
                return positions
            cause = errors[0]
            passing = cause.retriable() or cause.code() in {*_PASSING, KafkaError.UNSTABLE_OFFSET_COMMIT}
            if self._stopping.is_set() or not passing:
                raise KafkaException(cause)
            if not said:
                log.warning("waiting_for_committed_offsets", topic=self._topic, error=cause.str())
            said = True
            self._stopping.wait(_ASKED_AGAIN_AFTER_S)
            self._take_metadata(consumer)  # for what stays and commits meanwhile

    def _settled_before(self, consumer: Consumer, partitions: list[int]) -> Mapping[int, int]:
        """What the owner knows of partitions without a position, asked for until it does."""
        while True:
            asked = asyncio.run_coroutine_threadsafe(self._owner.settled_before(partitions), self._loop)
            while not asked.done() and not self._stopping.is_set():
                with suppress(TimeoutError, TransientError):
                    return asked.result(_COMMITTED_ASKED_S)
                self._take_metadata(consumer)  # for what stays and commits meanwhile
            if self._stopping.is_set():
                asked.cancel()
                raise TransientError(f"{self._topic}: stopped before it was known where to begin")
            self._stopping.wait(_ASKED_AGAIN_AFTER_S)

    async def _loaded(self, leases: list[Lease]) -> None:
        await self._owner.assigned(leases)

        def deliver(_: Consumer) -> None:
            loaded = {lease for lease in leases if self._leases.get(lease.partition) is lease}
            self._loading -= {lease.partition for lease in loaded}
            kept, self._early = self._early, []
            for chunk in kept:
                if chunk.lease in loaded or not chunk.lease.alive:
                    self._loop.call_soon_threadsafe(self._deliver, chunk)
                else:
                    self._early.append(chunk)

        with self._lock:
            self._commands.append(deliver)

    def _stop_on_failure(self, future: Any) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._loop.call_soon_threadsafe(self._finish, future.exception())

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back(consumer, partitions, lost=True)
        self._lost_at_s = self._monotonic_s()

    def _give_back(self, consumer: Consumer, partitions: list[TopicPartition], *, lost: bool) -> None:
        if not lost:
            # The group has a new generation by now, and this thread does not poll until the open batch has ended: under
            # the old one its commit would be refused until the deadline. Nobody has these partitions before we return.
            self._take_metadata(consumer)
        self._end([p.partition for p in partitions], lost=lost)
        if partitions:
            consumer.incremental_unassign(partitions)

    def _end(self, partitions: list[int], *, lost: bool) -> None:
        """Let the owner end what is open on partitions, and forget them."""
        leases = [self._leases.pop(partition) for partition in partitions if partition in self._leases]
        for lease in leases:
            self._loading.discard(lease.partition)
            self._paused.discard(lease.partition)
            if lost:
                lease.alive = False
        # Returns only when every transaction that holds one of them has ended: until then the group waits for us.
        going = asyncio.run_coroutine_threadsafe(self._owner.revoked(leases, lost=lost), self._loop)
        wait_s = self._revoke_deadline_s + _COMMIT_ENDS_WITHIN_S
        try:
            going.result(wait_s)
        except TimeoutError:
            raise FencedError(
                f"{self._topic}: a commit on partitions that were taken from this worker has not ended within"
                f" {wait_s:.0f} s: the broker does not answer. Nothing is lost: whoever has them next waits for it"
            ) from None


_PASSING: frozenset[int] = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""Errors that librdkafka recovers from by itself although it does not call them retriable."""
