"""The audit: are topics, store and cache one history in which nothing is lost and nothing doubled?

Every check reads committed records only and returns its findings as sentences that name the place. An empty list is the
only good answer; `assert_sound` turns findings into a failure. That the checks can fail is itself tested
(`tests/unit/e2e/test_log_audit.py`).

More than 400 lines because one history is judged in one place, check by check.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from e2e.log_history import LogHistory, LogRecord

from schemas import headers
from schemas.candidate import Candidate, Embedded, Lane, Watermark
from schemas.conversation import Turn
from schemas.ids import UserKey, origin_event_id, turn_memory_id
from schemas.indexed import Indexed
from schemas.memory import Memory, MemoryChange, Op
from schemas.outcome import DeadLetter, LedgerEntry, Outcome
from streams.caches.redis_versions import create_version_cache
from streams.clock import SystemClock
from streams.embedders.factory import create_embedder
from streams.engine.stage import Answers, Consumed, MicroBatch
from streams.settings import Settings
from streams.stages import extract
from streams.stages.working_set import digest_of, fold
from streams.stores.factory import create_store
from topology import keys
from topology.graph import GRAPH, StageName, StageSpec, stage
from topology.topics import CANDIDATES, CHANGES, CONVERSATION_EVENTS, DLQ, EMBEDDED, INDEXED, LEDGER

_SHOWN = 20


def assert_sound(findings: Sequence[str]) -> None:
    """Fail with the first findings, if there are any."""
    more = f"\n... and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    assert not findings, f"the audit found {len(findings)} faults:\n" + "\n".join(findings[:_SHOWN]) + more


async def audit(history: LogHistory, settings: Settings) -> list[str]:
    """All checks on a drained log, its store and its cache."""
    return [
        *check_log(history),
        *await check_facts(history, settings),
        *await check_store(history, settings),
        *await check_versions(history, settings),
    ]


def check_log(history: LogHistory) -> list[str]:
    """All checks that need nothing but the log."""
    if not any(history.events(CHANGES, MemoryChange)):
        return ["there is not one change: an audit of nothing proves nothing"]
    findings: list[str] = []
    for spec in GRAPH:
        findings += check_ledger(history, spec)
    for check in (
        check_dead_letters,
        check_turn_candidates,
        check_embedded,
        check_changes,
        check_revisions,
        check_heads,
        check_notices,
        check_watermarks,
    ):
        findings += check(history)
    return findings


def check_ledger(history: LogHistory, spec: StageSpec) -> list[str]:
    """Every record stands in exactly one entry, which stands where it is looked for and counts its records right."""
    findings = [
        f"{record.place}: an entry of {spec.name} for partition {entry.partition}, which has none"
        for record, entry in history.events(LEDGER, LedgerEntry)
        if entry.stage == spec.name and entry.partition not in range(history.partitions)
    ]
    for partition in range(history.partitions):
        offsets = [record.offset for record in history.of(spec.reads, partition)]
        known = set(offsets)
        place = f"{spec.name}'s books of {spec.reads.name} {partition}"
        next_index = 0
        for record, entry in history.ledger(spec, partition):
            expected = offsets[next_index] if next_index < len(offsets) else None
            if entry.topic != spec.reads.name or record.partition > partition:
                findings.append(f"{record.place}: an entry for {entry.topic} {entry.partition} in the wrong place")
            if expected is None or entry.first_offset < expected:
                findings.append(f"{place}: offset {entry.first_offset} is settled twice ({record.place})")
            elif entry.first_offset > expected:
                findings.append(f"{place}: nothing from {expected} to {entry.first_offset - 1} ({record.place})")
            covered = [offset for offset in offsets if entry.first_offset <= offset <= entry.last_offset]
            if entry.last_offset not in known:
                findings.append(f"{place}: the entry ends at {entry.last_offset}, where no record is ({record.place})")
            if len(covered) != entry.applied + entry.filtered + entry.dead_lettered:
                findings.append(
                    f"{place}: {len(covered)} records from {entry.first_offset} to {entry.last_offset}, but applied "
                    f"{entry.applied} + filtered {entry.filtered} + dead-lettered {entry.dead_lettered}"
                )
            judged = Counter(verdict.offset for verdict in entry.verdicts)
            findings += [f"{place}: two verdicts on {offset}" for offset, count in judged.items() if count > 1]
            findings += [f"{place}: a verdict on {o}, which is not in it" for o in sorted(judged.keys() - set(covered))]
            outcomes = Counter(verdict.outcome for verdict in entry.verdicts)
            if (outcomes[Outcome.FILTERED], outcomes[Outcome.DEAD_LETTERED]) != (entry.filtered, entry.dead_lettered):
                findings.append(f"{place}: the verdicts from {entry.first_offset} on do not give its counts")
            next_index = max(next_index, sum(offset <= entry.last_offset for offset in offsets))
        if next_index < len(offsets):
            findings.append(f"{place}: {len(offsets) - next_index} records from {offsets[next_index]} on are not in it")
    return findings


def check_dead_letters(history: LogHistory) -> list[str]:
    """Every dead-lettered record has one letter, which holds its bytes; every letter has its verdict."""
    wanted = {
        (str(spec.name), partition, offset): record
        for spec in GRAPH
        for partition in range(history.partitions)
        for offset, record in _dead_lettered(history, spec, partition).items()
    }
    findings = []
    letters: Counter[tuple[str, int, int]] = Counter()
    for at, letter in history.events(DLQ, DeadLetter):
        key = (letter.stage, letter.partition, letter.offset)
        letters[key] += 1
        original = wanted.get(key)
        if original is None:
            findings.append(f"{at.place}: a letter about {key}, on which no verdict stands")
        elif (letter.topic, letter.key, letter.value) != (original.topic, original.key, original.value):
            findings.append(f"{at.place}: the letter does not hold the bytes of {original.place}")
        elif [one for one in letter.headers if one[0] != headers.WINDOW] != [*original.headers]:
            findings.append(f"{at.place}: the letter does not hold the headers of {original.place}")
    findings += [
        f"{r.place}: dead-lettered by {key[0]}, but no letter" for key, r in wanted.items() if not letters[key]
    ]
    findings += [
        f"{wanted[key].place}: {n} letters of {key[0]}" for key, n in letters.items() if n > 1 and key in wanted
    ]
    return findings


def check_turn_candidates(history: LogHistory) -> list[str]:
    """Every turn that record applied is one candidate, in log order, under the id that its event gives it."""
    findings = []
    record_stage = stage(StageName.RECORD)
    for partition in range(history.partitions):
        spared = _not_applied(history, record_stage, partition)
        expected = [
            (record.offset, _turn_memory_id(record))
            for record in history.of(CONVERSATION_EVENTS, partition)
            if isinstance(record.event, Turn) and record.offset not in spared
        ]
        found = [
            (record.event.source.newest_offset, record.event.memory_id)
            for record in history.of(CANDIDATES, partition)
            if isinstance(record.event, Candidate) and record.event.kind == "turn"
        ]
        findings += _compare_sequences(f"{CANDIDATES.name} {partition}: turn candidate", expected, found)
    return findings


def check_embedded(history: LogHistory) -> list[str]:
    """Every candidate is embedded once, in its order."""
    findings = []
    for partition in range(history.partitions):
        expected = [r.event for r in history.of(CANDIDATES, partition) if isinstance(r.event, Candidate)]
        found = [r.event.candidate for r in history.of(EMBEDDED, partition) if isinstance(r.event, Embedded)]
        findings += _compare_sequences(f"{EMBEDDED.name} {partition}: embedded candidate", expected, found)
    return findings


def check_changes(history: LogHistory) -> list[str]:
    """Every turn is added once, in order; every candidate is a change or filtered; ids are unique."""
    findings = []
    consolidate = stage(StageName.CONSOLIDATE)
    change_ids: Counter[str] = Counter()
    added: Counter[str] = Counter()
    for partition in range(history.partitions):
        candidates = [r.event.candidate for r in history.of(EMBEDDED, partition) if isinstance(r.event, Embedded)]
        changes = [r.event for r in history.of(CHANGES, partition) if isinstance(r.event, MemoryChange)]
        expected = list(dict.fromkeys(c.memory_id for c in candidates if c.kind == "turn"))
        found = [c.memory_id for c in changes if c.kind == "turn" and c.op is Op.ADDED]
        findings += _compare_sequences(f"{CHANGES.name} {partition}: added turn", expected, found)
        filtered = len(_not_applied(history, consolidate, partition))
        if len(candidates) != len(changes) + filtered:
            findings.append(
                f"{CHANGES.name} {partition}: {len(candidates)} candidates, but {len(changes)} changes and {filtered} "
                "filtered or dead-lettered"
            )
        change_ids.update(c.change_id for c in changes)
        added.update(c.memory_id for c in changes if c.op is Op.ADDED)
    findings += [f"{CHANGES.name}: change {name} stands there {n} times" for name, n in change_ids.items() if n > 1]
    findings += [f"{CHANGES.name}: memory {name} is added {n} times" for name, n in added.items() if n > 1]
    return findings


def check_revisions(history: LogHistory) -> list[str]:
    """Each user's revisions are 1, 2, 3, ... in log order, in the user's own partition, each with its vector."""
    findings = []
    revisions: dict[UserKey, int] = {}
    for record, change in history.events(CHANGES, MemoryChange):
        expected = revisions.get(change.user, 0) + 1
        if change.revision != expected:
            findings.append(f"{record.place}: {change.user} has revision {change.revision} where {expected} comes next")
        revisions[change.user] = change.revision
        if keys.partition_of(change.user, history.partitions) != record.partition:
            findings.append(f"{record.place}: {change.user} does not belong into partition {record.partition}")
        if not headers.get(record.headers, headers.VECTOR):
            findings.append(f"{record.place}: a change without its vector")
    return findings


def check_heads(history: LogHistory) -> list[str]:
    """The newest head of every user sums up exactly what the changes fold to."""
    folded = fold_of(history)
    revisions = newest_revisions(history)
    heads = history.heads()
    findings = [f"{user} has changes and no head" for user in folded.keys() - heads.keys()]
    for user, head in heads.items():
        memories = list(folded.get(user, {}).values())
        stated = (head.revision, head.memories, head.digest)
        if stated != (revisions.get(user, 0), len(memories), digest_of(memories)):
            findings.append(
                f"the head of {user} says revision {head.revision} and {head.memories} memories; the changes fold to "
                f"revision {revisions.get(user, 0)} and {len(memories)} memories"
                + (", with another digest" if head.memories == len(memories) else "")
            )
    return findings


def check_notices(history: LogHistory) -> list[str]:
    """What index says it has never goes back and ends at every user's newest revision."""
    findings = []
    announced: dict[UserKey, int] = {}
    for record, notice in history.events(INDEXED, Indexed):
        for indexed in notice.users:
            user = UserKey(indexed.tenant, indexed.user_id)
            if indexed.revision <= announced.get(user, 0):
                findings.append(
                    f"{record.place}: {user} is announced at revision {indexed.revision} after {announced[user]}"
                )
            announced[user] = indexed.revision
    for user, revision in newest_revisions(history).items():
        if announced.get(user) != revision:
            findings.append(f"{INDEXED.name}: {user} is announced at {announced.get(user)}, the newest is {revision}")
    return findings


def check_watermarks(history: LogHistory) -> list[str]:
    """On every topic each lane's watermark only rises, and in the end it has reached the last conversation event."""
    findings = []
    for topic in (CANDIDATES, EMBEDDED, CHANGES, INDEXED):
        for partition in range(history.partitions):
            reached: dict[Lane, int] = {}
            for record in history.of(topic, partition):
                for mark in _watermarks(record):
                    if mark.offset < reached.get(mark.lane, -1):
                        findings.append(f"{record.place}: the watermark of {mark.lane} falls back to {mark.offset}")
                    reached[mark.lane] = mark.offset
            events = history.of(CONVERSATION_EVENTS, partition)
            findings += [
                f"{topic.name} {partition}: the watermark of {lane} ends at {reached.get(lane)}, "
                f"the last conversation event stands at {events[-1].offset}"
                for lane in Lane
                if events and reached.get(lane) != events[-1].offset
            ]
    return findings


async def check_facts(history: LogHistory, settings: Settings) -> list[str]:
    """Reading each partition once, in one go and without a crash, gives the same facts in the same order."""
    findings = []
    spec = stage(StageName.EXTRACT)
    again = extract.create(settings, SystemClock())
    again._reader = _EmptyLog()  # the state of a fresh start
    for partition in range(history.partitions):
        dead = _dead_lettered(history, spec, partition)
        spared = _not_applied(history, spec, partition)
        findings += [
            f"{r.place}: {spec.name} applied what is no event"
            for r in history.of(spec.reads, partition)
            if r.event is None and r.offset not in spared
        ]
        consumed: list[Consumed[Any]] = [
            Consumed(partition, r.offset, r.timestamp_ms, r.key, r.value or b"", r.headers, r.event)
            for r in history.of(CONVERSATION_EVENTS, partition)
            if r.event is not None and r.offset not in dead
        ]
        if not consumed:
            continue
        await again.load(partition, position=0)
        decision = await again.decide(MicroBatch(records=consumed, last_offsets={partition: consumed[-1].offset}))
        answers = await decision.ask() if decision.ask is not None else Answers()
        decoded = [CANDIDATES.codec.decode(o.value) for o in answers.outputs if o.topic is CANDIDATES]
        expected = [event for event in decoded if isinstance(event, Candidate)]
        found = [
            r.event
            for r in history.of(CANDIDATES, partition)
            if isinstance(r.event, Candidate) and r.event.kind == "fact"
        ]
        findings += _compare_sequences(f"{CANDIDATES.name} {partition}: fact candidate", expected, found)
    return findings


async def check_store(history: LogHistory, settings: Settings) -> list[str]:
    """The store holds what the changes fold to, whole, once and nothing else, and the heads of the log."""
    store = create_store(settings, dimensions=create_embedder().dimensions)
    await store.open()
    try:
        findings = []
        folded = fold_of(history)
        heads = await store.heads(list(folded))
        for user, memories in folded.items():
            found = await store.memories(user)
            findings += _compare_memories(user, memories, found)
            head = heads.get(user)
            if head != history.heads().get(user):
                findings.append(f"the store's head of {user} is at {head and head.revision}, not as the log has it")
        count, wanted = await store.count(), sum(map(len, folded.values()))
        if count != wanted:
            findings.append(f"the store holds {count} memories, the changes fold to {wanted}")
        return findings
    finally:
        await store.close()


async def check_versions(history: LogHistory, settings: Settings) -> list[str]:
    """Redis has every user's newest revision as version."""
    cache = create_version_cache(settings)
    await cache.open()
    try:
        revisions = newest_revisions(history)
        versions = await cache.versions(list(revisions))
        return [
            f"Redis has version {versions.get(user)} of {user}, the newest revision is {revision}"
            for user, revision in revisions.items()
            if versions.get(user) != revision
        ]
    finally:
        await cache.close()


def fold_of(history: LogHistory) -> dict[UserKey, dict[str, Memory]]:
    """The memories that the changes give."""
    return fold(change for _, change in history.events(CHANGES, MemoryChange))


def newest_revisions(history: LogHistory) -> dict[UserKey, int]:
    """User to the revision of the newest change."""
    return {change.user: change.revision for _, change in history.events(CHANGES, MemoryChange)}


class _EmptyLog:
    async def read(self, topic: Any, partition: int) -> AsyncIterator[list[Any]]:
        for nothing in ():
            yield nothing


def _turn_memory_id(record: LogRecord) -> str:
    first = headers.origin_of(record.headers) or record
    stand_in = origin_event_id(first.partition, first.offset)
    return turn_memory_id(record.event.user, record.event.event_id or stand_in)


def _watermarks(record: LogRecord) -> Iterable[Watermark]:
    if isinstance(record.event, Watermark):
        return [record.event]
    return record.event.watermarks if isinstance(record.event, Indexed) else []


def _not_applied(history: LogHistory, spec: StageSpec, partition: int) -> set[int]:
    return {verdict.offset for _, entry in history.ledger(spec, partition) for verdict in entry.verdicts}


def _dead_lettered(history: LogHistory, spec: StageSpec, partition: int) -> dict[int, LogRecord]:
    judged = {
        verdict.offset
        for _, entry in history.ledger(spec, partition)
        for verdict in entry.verdicts
        if verdict.outcome is Outcome.DEAD_LETTERED
    }
    return {record.offset: record for record in history.of(spec.reads, partition) if record.offset in judged}


def _compare_sequences(what: str, expected: Sequence[Any], found: Sequence[Any]) -> list[str]:
    """The first place where two sequences part; what follows would only repeat it."""
    if list(expected) == list(found):
        return []
    index = next(
        (i for i, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other),
        min(len(expected), len(found)),
    )
    wanted = expected[index] if index < len(expected) else "nothing more"
    got = found[index] if index < len(found) else "nothing more"
    return [f"{what} number {index} of {len(expected)}: expected {wanted}, found {got} ({len(found)} in all)"]


def _compare_memories(user: UserKey, expected: dict[str, Memory], found: Sequence[Memory]) -> list[str]:
    stored = {memory.memory_id: memory for memory in found}
    findings = [] if len(stored) == len(found) else [f"the store has a memory of {user} more than once"]
    if missing := expected.keys() - stored.keys():
        findings.append(f"the store lacks {len(missing)} memories of {user}, one is {min(missing)}")
    if strange := stored.keys() - expected.keys():
        findings.append(f"the store has {len(strange)} memories of {user} that the log has not, one is {min(strange)}")
    findings += [
        f"memory {name} of {user} is {stored[name]} in the store and {memory} in the log"
        for name, memory in expected.items()
        if name in stored and stored[name] != memory
    ]
    return findings
