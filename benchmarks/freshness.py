"""How fresh search is under load that does not wait: from the intended time of a publish to searchable.

The schedule is computed before the run and no answer is waited for, so a slow system cannot slow the load down and hide
itself (coordinated omission). Latency counts from the intended time; how late the generator really was is its slip. A
run whose slip is too large says nothing about the system and is marked invalid.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from confluent_kafka import KafkaError, Producer

from benchmarks.drain import LIMIT
from benchmarks.probes import IndexedProbe, WaitError
from benchmarks.workers import Worker, check_alive
from benchmarks.workload import Event
from streams.clients.reader import MemoryReader
from streams.engine import kafka
from streams.settings import Settings
from topology import topics

POLL = timedelta(milliseconds=20)
"""How often a sampled turn is looked for. It is searched for from its notice on: searching all the time took more of
the machine than what is measured (1,500 searches a second once turns took 10 s). Its latency is an upper bound."""

_SAMPLE_EVERY = timedelta(milliseconds=250)
_TICK_S = 0.005
_LINGER_MS = 20
"""A publisher of thousands a second collects for a moment: with 5 ms the generator sent 800 requests a second, and they
took a third of a core, its own and the broker's. Like the tick it is part of every latency."""
_DRAIN_WITHIN_S = 30.0
_MAX_SLIP_S = 0.050
"""At the 99th percentile: a twentieth of the freshness that is promised (1 s). Slip is part of every latency, so below
this the numbers are a little too bad; above it the load was not the one that was planned."""


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """Latencies of one open-loop run, seconds from the intended time, in no order.

    Attributes:
        rate_per_s: intended turns a second.
        indexed_s: to the notice on `memory.indexed`, every turn.
        found_s: to the first search after its notice that finds it, sampled turns.
        slip_s: how much later than intended each turn was handed over.
        unseen: turns that were not announced as searchable when the run gave up.
        unfound: sampled turns that no search had found by then.
    """

    rate_per_s: float
    indexed_s: list[float]
    found_s: list[float]
    slip_s: list[float]
    unseen: int
    unfound: int

    def why_invalid(self) -> str:
        """Why the numbers do not count; empty when they do."""
        if self.unseen:
            return f"{self.unseen} turns were not searchable {_DRAIN_WITHIN_S:g} s after the load: the rate is too high"
        if self.unfound:
            return f"{self.unfound} sampled turns were not found by search within {_DRAIN_WITHIN_S:g} s"
        slip_s = quantile(self.slip_s, 0.99)
        if slip_s > _MAX_SLIP_S:
            return f"the generator was {slip_s * 1000:.0f} ms late at the 99th percentile: the machine is too busy"
        return ""


@dataclass
class _Run:
    intended_s: dict[str, float] = field(default_factory=dict)
    slip_s: list[float] = field(default_factory=list)
    found_s: list[float] = field(default_factory=list)
    searches: list["asyncio.Task[None]"] = field(default_factory=list)


def quantile(values: Sequence[float], ratio: float) -> float:
    """The smallest value that at least this share of the values does not exceed; exact, no interpolation."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(0, -int(-ratio * len(ordered) // 1) - 1)]


async def measure(
    settings: Settings,
    events: Sequence[Event],
    *,
    rate_per_s: float,
    probe: IndexedProbe,
    workers: Sequence[Worker],
    say: Callable[[str], None],
) -> Freshness:
    """Publish at a fixed rate and watch when turns become searchable.

    Keys, values and settings are those of the public client, but for headers and linger, and are ready before the run:
    its checks took half a core at 4,000 turns a second, of a machine that it shares with what is measured.

    Args:
        settings: where the stack is.
        events: what to publish.
        rate_per_s: how fast.
        probe: already following.
        workers: they must live.
        say: shows how far it is.
    """
    run = _Run()
    failed: list[KafkaError] = []
    producer = Producer(
        kafka.producer(settings.kafka, client_id="memstream.bench")
        | {
            "linger.ms": _LINGER_MS,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _: failed.append(error),
        }
    )
    topic = topics.CONVERSATION_EVENTS.in_namespace(settings.kafka.namespace)
    async with MemoryReader(settings) as reader:
        try:
            await _send_all(
                events, rate_per_s, send=partial(producer.produce, topic), reader=reader, probe=probe, run=run, say=say
            )
            if await asyncio.to_thread(producer.flush, _DRAIN_WITHIN_S) or failed:
                raise WaitError(f"the broker did not take all turns: {failed[:1]}")
            await _until_indexed(probe, run, workers)
            await asyncio.gather(*run.searches)
        finally:
            for search in run.searches:
                search.cancel()
    seen = [memory_id for memory_id in run.intended_s if memory_id in probe.seen_at_s]
    return Freshness(
        rate_per_s=rate_per_s,
        indexed_s=[probe.seen_at_s[memory_id] - run.intended_s[memory_id] for memory_id in seen],
        found_s=run.found_s,
        slip_s=run.slip_s,
        unseen=len(events) - len(seen),
        unfound=len(run.searches) - len(run.found_s),
    )


async def _send_all(
    events: Sequence[Event],
    rate_per_s: float,
    *,
    send: Callable[[bytes, bytes], None],
    reader: MemoryReader,
    probe: IndexedProbe,
    run: _Run,
    say: Callable[[str], None],
) -> None:
    """Hand over each event when it is due, and start a search for some of them."""
    start_s = time.monotonic() + 0.2
    due_s = [start_s + number / rate_per_s for number in range(len(events))]
    every = max(1, int(rate_per_s * _SAMPLE_EVERY.total_seconds()))
    sent = 0
    while sent < len(events):
        now_s = time.monotonic()
        while sent < len(events) and due_s[sent] <= now_s:
            event = events[sent]
            run.intended_s[event.memory_id] = due_s[sent]
            send(event.value, event.key)
            run.slip_s.append(time.monotonic() - due_s[sent])
            if sent % every == every - 1:
                run.searches.append(asyncio.create_task(_search_until_found(reader, probe, event, run)))
            sent += 1
        say(f"{sent} of {len(events)} turns")
        await asyncio.sleep(_TICK_S)


async def _until_indexed(probe: IndexedProbe, run: _Run, workers: Sequence[Worker]) -> None:
    """Wait for the last turns; what is still missing after the deadline is counted."""
    deadline_s = time.monotonic() + _DRAIN_WITHIN_S
    while probe.missing(run.intended_s) and time.monotonic() < deadline_s:
        check_alive(workers)
        await asyncio.sleep(0.05)


async def _search_until_found(reader: MemoryReader, probe: IndexedProbe, event: Event, run: _Run) -> None:
    turn, intended_s = event.turn, run.intended_s[event.memory_id]
    while time.monotonic() - intended_s < _DRAIN_WITHIN_S:
        if event.memory_id in probe.seen_at_s:
            results = await reader.search(turn.user_id, turn.content, tenant=turn.tenant, limit=LIMIT)
            if any(turn.event_id in result.source_event_ids for result in results):
                run.found_s.append(time.monotonic() - intended_s)
                return
        await asyncio.sleep(POLL.total_seconds())
