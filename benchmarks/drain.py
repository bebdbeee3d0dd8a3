"""How fast a backlog becomes searchable.

The backlog is published in one Kafka transaction. Workers read committed records only, so they stand warm at the log's
end and see nothing until the commit puts the whole backlog before them at once: neither the start of the workers nor
the work of the publisher is in the time. The backlog is some ten seconds' work, like the load that follows, so
that what stores put off (Weaviate compacts, SQLite checkpoints) is in it too.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Producer

from benchmarks.probes import IndexedProbe, WaitError
from benchmarks.workers import Worker, all_cpu_s, check_alive, cpu_since_s
from benchmarks.workload import Event
from streams.clients.reader import MemoryReader
from streams.engine import kafka
from streams.settings import Settings
from topology import topics

_COMMIT_TIMEOUT_S = 60.0
_SEARCHED = 40
LIMIT = 50
"""People repeat themselves: a turn may have to share its place with some that say the same."""


@dataclass(frozen=True, kw_only=True)
class Drained:
    """A drained backlog.

    Attributes:
        turns: how many turns it held.
        seconds: from its commit to the notice of the last turn.
        memories: how many memories the notices of that time speak of: turns, and the facts found meanwhile.
        started_at_s: monotonic.
        cpu_s: processor seconds used meanwhile, by process name.
    """

    turns: int
    seconds: float
    memories: int
    started_at_s: float
    cpu_s: dict[str, float]

    @property
    def turns_per_s(self) -> float:
        """Turns a second, from publish to searchable."""
        return self.turns / self.seconds

    @property
    def memories_per_s(self) -> float:
        """Memories indexed a second."""
        return self.memories / self.seconds


def publish_at_once(settings: Settings, events: Sequence[Event], *, name: str) -> float:
    """Publish events in one transaction.

    Returns:
        The monotonic time right before the commit that made them visible.
    """
    producer = Producer(
        kafka.transactional_producer(settings.kafka, client_id="memstream.bench", transactional_id=name)
        | {"linger.ms": 20, "transaction.timeout.ms": 60_000, "queue.buffering.max.messages": 1_000_000}
    )
    producer.init_transactions(_COMMIT_TIMEOUT_S)
    producer.begin_transaction()
    topic = topics.CONVERSATION_EVENTS.in_namespace(settings.kafka.namespace)
    for event in events:
        producer.produce(topic, key=event.key, value=event.value)
    if left := producer.flush(_COMMIT_TIMEOUT_S):
        raise WaitError(f"the broker did not take {left} of {len(events)} events")
    committed_at_s = time.monotonic()
    producer.commit_transaction(_COMMIT_TIMEOUT_S)
    return committed_at_s


def drain(
    settings: Settings,
    events: Sequence[Event],
    *,
    probe: IndexedProbe,
    workers: Sequence[Worker],
    watched: Mapping[str, int],
    within_s: float,
    say: Callable[[str], None],
) -> Drained:
    """Publish a backlog to warm workers and wait until all of it is searchable.

    Args:
        settings: where Kafka is.
        events: the backlog.
        probe: already following.
        workers: they must live.
        watched: name to process id: whose processor time is counted.
        within_s: how long it may take.
        say: shows how far it is.
    """
    before_s = all_cpu_s(watched)
    started_at_s = publish_at_once(settings, events, name=f"bench-{events[0].turn.event_id}")

    def show(found: int) -> None:
        check_alive(workers)
        say(f"{found} of {len(events)} turns searchable")

    ended_at_s = probe.await_all([event.memory_id for event in events], within_s=within_s, while_waiting=show)
    return Drained(
        turns=len(events),
        seconds=ended_at_s - started_at_s,
        memories=probe.rows_between(started_at_s, ended_at_s),
        started_at_s=started_at_s,
        cpu_s=cpu_since_s(watched, before_s),
    )


async def check_searchable(settings: Settings, events: Sequence[Event]) -> int:
    """Search for a sample of turns in the words they were said in.

    Returns:
        How many were searched for; all of them were found.

    Raises:
        WaitError: one was not.
    """
    sample = events[:: max(1, len(events) // _SEARCHED)]
    async with MemoryReader(settings) as reader:
        for event in sample:
            turn = event.turn
            results = await reader.search(turn.user_id, turn.content, tenant=turn.tenant, limit=LIMIT)
            if not any(turn.event_id in result.source_event_ids for result in results):
                raise WaitError(f"turn {turn.event_id} of {turn.user} is not found by its own words")
    return len(sample)
