"""Who takes part, what is checked of each, and what is made of the rounds: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.engine.contender import Result
from benchmarks.engine.environments import Environment
from benchmarks.report import Row, row


class ContestError(Exception):
    """A contender did not run, or did not do what it claims; its numbers would be worthless."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One row of the table.

    Attributes:
        name: of the row.
        module: in `benchmarks.engine.contenders`.
        mode: of that module.
        note: what to know when reading its number.
        environment: whose Python it runs in.
        writes: whether it writes one output for each record.
        batch: events of a micro-batch or transaction; 0 takes those that ours really made in the same round.
        slow: whether it stops by time, long before the last record.
    """

    name: str
    module: str
    mode: str
    note: str
    environment: Environment = Environment.OURS
    writes: bool = False
    batch: int = 4000
    slow: bool = False


_NO_COMMITS = "commits nothing"
_IN_TRANSACTIONS = "offsets and ledger in transactions, as always: the engine has no mode without"

CONTENDERS: tuple[Contender, ...] = (
    Contender(name="consume.confluent", module="librdkafka", mode="consume", batch=1000, note=_NO_COMMITS),
    Contender(name="consume.aiokafka", module="aiokafka_bare", mode="getmany", note=_NO_COMMITS),
    Contender(name="consume.ours_noop", module="ours", mode="raw", note=_IN_TRANSACTIONS),
    Contender(name="consume.ours_decode", module="ours", mode="decode", note=f"typed events; {_IN_TRANSACTIONS}"),
    Contender(
        name="consume.quix_raw",
        module="quix",
        mode="raw",
        environment=Environment.QUIX,
        note="commits offsets every 5 s, its default",
    ),
    Contender(
        name="consume.quix_json",
        module="quix",
        mode="json",
        environment=Environment.QUIX,
        note="untyped dicts; commits offsets every 5 s, its default",
    ),
    Contender(
        name="consume.bytewax_raw",
        module="bytewax_raw",
        mode="raw",
        environment=Environment.BYTEWAX,
        batch=1000,
        note=_NO_COMMITS,
    ),
    Contender(
        name="consume.faust_take",
        module="faust_stock",
        mode="take",
        environment=Environment.FAUST,
        slow=True,
        note="take(500, 0.1), raw; commits offsets every 2.8 s, its default",
    ),
    Contender(
        name="consume.faust_take_uvloop",
        module="faust_stock",
        mode="take_uvloop",
        environment=Environment.FAUST,
        slow=True,
        note="the same on uvloop, which it offers as an option",
    ),
    Contender(
        name="consume.faust_noack",
        module="faust_stock",
        mode="noack",
        environment=Environment.FAUST,
        slow=True,
        note="noack().events() with ack, raw; commits offsets every 2.8 s, its default",
    ),
    Contender(name="eos.ours", module="ours", mode="raw", writes=True, note="exactly once, ledger entry a partition"),
    Contender(
        name="eos.bare",
        module="librdkafka",
        mode="exactly_once",
        writes=True,
        batch=0,
        note="exactly once, one ledger record a transaction; as many events in each as ours in the same round",
    ),
    Contender(
        name="eos.quix",
        module="quix",
        mode="exactly_once",
        environment=Environment.QUIX,
        writes=True,
        note="exactly once, a transaction every 5 s, its default",
    ),
    Contender(
        name="eos.faust",
        module="faust_stock",
        mode="send_each",
        environment=Environment.FAUST,
        writes=True,
        slow=True,
        note="at least once, its default mode",
    ),
)
"""In the order in which they run in every round; ours before the bare loop, which takes its size from it."""

RATIOS: Mapping[str, tuple[str, str]] = {
    "noop_vs_stock_faust": ("consume.ours_noop", "consume.faust_take"),
    "noop_vs_aiokafka": ("consume.ours_noop", "consume.aiokafka"),
    "decode_vs_quix": ("consume.ours_decode", "consume.quix_json"),
    "eos_vs_bare": ("eos.ours", "eos.bare"),
    "eos_vs_quix": ("eos.ours", "eos.quix"),
    "eos_vs_stock_faust": ("eos.ours", "eos.faust"),
}
"""Name to the two rows whose medians are divided. Stock Faust is Faust as it comes, on its default event loop."""


def check(contender: Contender, result: Result, *, records: int, outputs: Sequence[int] | None) -> None:
    """See that a contender did what its number says.

    Args:
        contender: who.
        result: what it says.
        records: how many there are.
        outputs: the events whose outputs are committed; none for contenders that only read.

    Raises:
        ContestError: it skipped, repeated or reordered records, or its outputs are not each there once.
    """
    if not result.in_order:
        raise ContestError(f"{contender.name} did not see the records of each partition once and in order")
    if result.records > records or (result.records < records and not contender.slow):
        raise ContestError(f"{contender.name} saw {result.records} of {records} records within its time")
    if outputs is None:
        return
    distinct = len(set(outputs))
    if distinct != len(outputs):
        raise ContestError(f"{contender.name} wrote {len(outputs) - distinct} outputs twice")
    if not result.records <= distinct <= records:
        raise ContestError(f"{contender.name} claims {result.records} outputs, {distinct} are committed")


def transaction_size(result: Result) -> int:
    """How many events a contender settled in one transaction, on average."""
    return max(1, round(result.records / result.transactions))


def rows(results: Mapping[str, Sequence[Result]], missing: Mapping[str, str]) -> list[Row]:
    """The numbers of every contender, in the order of `CONTENDERS`.

    Args:
        results: by contender, one a round.
        missing: contender to why it took no part, or not in every round; its row stays, if need be without a value.
    """
    found: list[Row] = []
    for name in (contender.name for contender in CONTENDERS):
        took_part = results.get(name, ())
        found += _rows(name, took_part) if took_part else [Row(f"{name}.rate", None, "events/s")]
        if name in missing:
            found.append(row(f"{name}.rounds", len(took_part), f"rounds ({missing[name]})"))
    return found


def _rows(name: str, results: Sequence[Result]) -> list[Row]:
    rates = [result.rate_per_s for result in results]
    numbers = [
        row(f"{name}.rate", median(rates), "events/s"),
        row(f"{name}.rate_min", min(rates), "events/s"),
        row(f"{name}.rate_max", max(rates), "events/s"),
        row(f"{name}.cpu", median(1e6 * result.cpu_s / result.records for result in results), "us/event"),
        row(f"{name}.events", median(result.records for result in results), "events"),
    ]
    if all(result.transactions for result in results):
        numbers.append(row(f"{name}.transaction", median(map(transaction_size, results)), "events"))
    return numbers


def ratios(results: Mapping[str, Sequence[Result]]) -> dict[str, float]:
    """Median over median, for every ratio whose two contenders took part."""
    rates = {name: median(result.rate_per_s for result in of) for name, of in results.items()}
    return {
        name: round(rates[ours] / rates[theirs], 3)
        for name, (ours, theirs) in RATIOS.items()
        if ours in rates and theirs in rates
    }


def notes(results: Mapping[str, Sequence[Result]]) -> list[str]:
    """A line for each contender that took part: what it was set to, and what to know when reading its number."""
    return [
        f"{contender.name}: {contender.note}"
        + "".join(f"; {name} {value}" for name, value in results[contender.name][-1].options.items())
        for contender in CONTENDERS
        if contender.name in results
    ]
