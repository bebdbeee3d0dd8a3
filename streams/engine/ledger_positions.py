"""Where a stage goes on when its consumer group has forgotten: behind the last ledger entry.

Group positions can be lost without a record being lost: the broker forgets those of a group that was away for longer
than `offsets.retention.minutes` (7 days by default), and an operator can delete them. Beginning at the beginning would
settle every record once more. The ledger commits in the same transactions and is kept without limit, so it knows.
"""

from collections.abc import Collection

import structlog
from confluent_kafka import Message

from schemas.codec import DecodeError
from schemas.outcome import LedgerEntry
from streams.engine.catch_up import LogReader
from streams.engine.raw_record import offset_of, partition_of
from streams.errors import RefusedError
from topology import topics
from topology.graph import StageSpec

log = structlog.get_logger("memstream.engine")


class LedgerPositions:
    """Reads positions of one stage from the ledger.

    Args:
        spec: of which stage.
        generation: the derived view that it builds; another one's entries say nothing about this one.
        reader: reads the ledger.
    """

    def __init__(self, spec: StageSpec, *, generation: int, reader: LogReader) -> None:
        self._spec = spec
        self._generation = generation
        self._reader = reader

    async def behind(self, partitions: Collection[int]) -> dict[int, int]:
        """The first offset behind everything that the ledger calls settled.

        It reads all of the ledger that may speak of these partitions: some seconds a million entries.

        Args:
            partitions: of the stage's topic, with no transaction open that holds one of their records.

        Returns:
            Offset by partition; nothing for a partition of which the stage has settled no record yet.

        Raises:
            TransientError: the log cannot be read at the moment.
            RefusedError: the ledger holds an entry that this version cannot read.
        """
        found: dict[int, int] = {}
        looked_in = sorted({number for partition in partitions for number in topics.ledger_partitions(partition)})
        key = self._spec.name.encode()
        for number in looked_in:
            async for messages in self._reader.read(topics.LEDGER, number):
                for message in messages:
                    if message.key() != key:
                        continue
                    entry = _entry(message)
                    if (
                        entry.generation == self._generation
                        and entry.topic == self._spec.reads.name
                        and entry.partition in partitions
                    ):
                        found[entry.partition] = max(found.get(entry.partition, 0), entry.last_offset + 1)
        if found:
            log.warning("positions_taken_from_ledger", stage=self._spec.name, positions=found)
        return found


def _entry(message: Message) -> LedgerEntry:
    try:
        entry: LedgerEntry = topics.LEDGER.codec.decode(message.value())
    except DecodeError as error:
        raise RefusedError(
            f"{topics.LEDGER.name} {partition_of(message)}/{offset_of(message)} cannot be read ({error}), and the"
            " group's positions are gone: start a worker of the version that wrote it"
        ) from error
    return entry
