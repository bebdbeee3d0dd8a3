"""What the journals of all workers of a run must say about deliveries and effects.

The log shows what was settled; only the workers themselves know what was handed to a stage, or done outside, more than
once. Every check is pure, returns its findings as sentences, and is tested with a journal that it must reject
(`tests/unit/chaos/test_journal_checks.py`).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from chaos.journal import Deed, Entry, Part
from e2e.log_history import LogHistory

from topology.graph import GRAPH, StageName

_STOPPED_WITHIN_NS = 1_000_000_000
"""Other threads may write a last line behind the one that says that the process freezes now."""

Place = tuple[StageName, int]
"""A stage and a partition of its input."""


def check_covers(entries: Sequence[Entry], history: LogHistory) -> list[str]:
    """Every record that the books have settled was seen on its way into a stage: nothing happened unwatched."""
    seen: dict[Place, set[range]] = {}
    for entry, part in _parts(entries, Deed.DECIDING):
        seen.setdefault((entry.stage, part.partition), set()).add(range(part.first_offset, part.last_offset + 1))
    findings = []
    for spec in GRAPH:
        for partition in range(history.partitions):
            offsets = {offset for span in seen.get((spec.name, partition), ()) for offset in span}
            missing = [record.offset for record in history.of(spec.reads, partition) if record.offset not in offsets]
            if missing:
                findings.append(f"{spec.name} {partition}: nobody saw {len(missing)} records, one is {missing[0]}")
    return findings


def check_not_settled_again(entries: Sequence[Entry]) -> list[str]:
    """Nothing is handed to a stage once a batch that holds it has committed, in whatever process."""
    settled: dict[Place, tuple[int, int]] = {}
    findings = []
    for entry in entries:
        for part in entry.parts:
            place = entry.stage, part.partition
            offset, by = settled.get(place, (-1, 0))
            if entry.deed is Deed.DECIDING and part.first_offset <= offset:
                findings.append(
                    f"{_named(place)}: process {entry.pid} was handed {part.first_offset} again; {by} had settled "
                    f"everything up to {offset}"
                )
            if entry.deed is Deed.COMMITTED and part.last_offset > offset:
                settled[place] = part.last_offset, entry.pid
    return findings


def check_delivered_once(entries: Sequence[Entry]) -> list[str]:
    """No record is handed to a stage twice: the law of orderly rebalances."""
    return _repetitions(entries, Deed.DECIDING, "was handed", excused=())


def check_effects(entries: Sequence[Entry], *, killed: Collection[int]) -> list[str]:
    """An effect is done again only if the process that did it was killed, and had not committed it.

    Args:
        entries: all journals, in the order of time.
        killed: processes that ended by SIGKILL.
    """
    return [
        *_repetitions(entries, Deed.PERFORMING, "performed", excused=killed),
        *(
            f"{_named((entry.stage, part.partition))}: process {entry.pid} performed {part.first_offset} again, which "
            "was settled"
            for entry, part in _performed_after_commit(entries)
        ),
    ]


def stale_writes(entries: Sequence[Entry], *, pid: int) -> dict[str, tuple[int, int]]:
    """What a process wrote in an older revision than another had written before: name to (its own, the newer one).

    No finding by itself: whether the store refused it is for the store's audit to say.
    """
    newest: dict[str, int] = {}
    stale = {}
    for entry in entries:
        if entry.deed is Deed.PERFORMED:
            for name, revision in entry.revisions.items():
                if entry.pid != pid:
                    newest[name] = max(newest.get(name, 0), revision)
                elif revision < newest.get(name, 0):
                    stale[name] = revision, newest[name]
    return stale


def afterlife(entries: Sequence[Entry], *, pid: int) -> list[Entry]:
    """What a process does, having been frozen for longer than its session, until each stage has partitions again."""
    frozen_ns = min((e.at_ns for e in entries if e.pid == pid and e.deed is Deed.MET_FATE), default=None)
    if frozen_ns is None:
        return []
    reborn: set[StageName] = set()
    found = []
    for entry in entries:
        if entry.pid == pid and entry.at_ns > frozen_ns + _STOPPED_WITHIN_NS:
            if entry.deed is Deed.ASSIGNED and entry.parts:  # a rejoin begins with an assignment of nothing
                reborn.add(entry.stage)
            elif entry.stage not in reborn:
                found.append(entry)
    return found


def check_zombie(entries: Sequence[Entry], *, pid: int) -> list[str]:
    """What a zombie takes for committed had been committed before it was thawed.

    By others, or by itself: the answer to a commit may come while it is frozen. Then whoever was given the partition
    meanwhile begins behind it.

    Args:
        entries: all journals, in the order of time.
        pid: the process that was frozen and thawed.
    """
    settled: dict[Place, int] = {}
    findings = []
    acts = {id(entry) for entry in afterlife(entries, pid=pid)}
    for entry in entries:
        for part in entry.parts:
            place = entry.stage, part.partition
            if entry.deed is Deed.ASSIGNED:
                settled[place] = max(settled.get(place, -1), part.first_offset - 1)
            elif entry.deed is Deed.COMMITTED and id(entry) not in acts:
                settled[place] = max(settled.get(place, -1), part.last_offset)
            elif entry.deed is Deed.COMMITTED and part.last_offset > settled.get(place, -1):
                findings.append(f"{_named(place)}: the zombie committed up to {part.last_offset}")
    return findings


def unsettled(parts: Iterable[Part], committed: Iterable[Entry]) -> list[Part]:
    """Those of a stage's parts that reach beyond these commits of it, which are in the order of time."""
    reached = {part.partition: part.last_offset for entry in committed for part in entry.parts}
    return [part for part in parts if part.last_offset > reached.get(part.partition, -1)]


def open_parts(entries: Sequence[Entry], *, pid: int, stage: StageName) -> list[Part]:
    """What a process has taken and not committed in a stage."""
    own = [entry for entry in entries if entry.pid == pid and entry.stage is stage]
    decided = (part for entry in own if entry.deed is Deed.DECIDING for part in entry.parts)
    return unsettled(decided, (entry for entry in own if entry.deed is Deed.COMMITTED))


def repeated_effects(entries: Sequence[Entry], stage: StageName) -> int:
    """How many batches of a stage began an effect on records on which one had been begun before."""
    own = [entry for entry in entries if entry.stage is stage]
    return len(_repetitions(own, Deed.PERFORMING, "", excused=()))


def _repetitions(entries: Sequence[Entry], deed: Deed, said: str, *, excused: Collection[int]) -> list[str]:
    reached: dict[Place, list[tuple[int, int]]] = {}
    findings = []
    for entry, part in _parts(entries, deed):
        place = entry.stage, part.partition
        before = reached.setdefault(place, [])
        findings += [
            f"{_named(place)}: process {entry.pid} {said} {part.first_offset} again, after {pid} and everything up to "
            f"{offset}"
            for offset, pid in before
            if part.first_offset <= offset and pid not in excused
        ]
        before[:] = [(offset, pid) for offset, pid in before if offset > part.last_offset]
        before.append((part.last_offset, entry.pid))
    return findings


def _performed_after_commit(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Part]]:
    settled: dict[Place, int] = {}
    for entry in entries:
        for part in entry.parts:
            place = entry.stage, part.partition
            if entry.deed is Deed.COMMITTED:
                settled[place] = max(settled.get(place, -1), part.last_offset)
            elif entry.deed is Deed.PERFORMING and part.first_offset <= settled.get(place, -1):
                yield entry, part


def _parts(entries: Iterable[Entry], deed: Deed) -> Iterator[tuple[Entry, Part]]:
    return ((entry, part) for entry in entries if entry.deed is deed for part in entry.parts)


def _named(place: Place) -> str:
    return f"{place[0]} {place[1]}"
