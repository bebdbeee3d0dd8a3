"""No transaction holds up its partition for good."""

from collections.abc import Iterable, Iterator

from streams.clients.hanging_transactions import HangingTransaction
from streams.clients.verification.findings import Fault, Kind


def check_hanging(found: Iterable[HangingTransaction], *, ledger: str) -> Iterator[Fault]:
    """Each one with what an operator has to know; what to do about it is the operator's decision.

    Args:
        found: what hangs.
        ledger: the ledger's name in Kafka: one that hangs there keeps books from being judged, and nothing else.
    """
    for one in found:
        unjudged = (
            f"the books of partition {one.partition} and above were not judged"
            if one.topic == ledger
            else f"partition {one.partition} was not judged"
        )
        yield Fault(
            Kind.HANGING_TRANSACTION,
            f"{one.topic} {one.partition}/{one.first_offset}: open for {one.open_s:.0f} s and more, "
            f"{one.records_behind} offsets from there on wait; {unjudged}. "
            "Next: find out whether it was committed; only if it was not, "
            f"`kafka-transactions.sh --bootstrap-server SERVER abort --topic {one.topic} "
            f"--partition {one.partition} --start-offset {one.first_offset}` "
            "(docs/commands.md, verify)",
        )
