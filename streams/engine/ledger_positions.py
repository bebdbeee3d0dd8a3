"""Where a stage goes on when its consumer group has forgotten: behind the last ledger entry.

Group positions can be lost without a record being lost: the broker forgets those of a group that was away for longer
than `offsets.retention.minutes` (7 days by default), and an operator can delete them. Beginning at the beginning would
settle every record once more. The ledger commits in the same transactions and is kept without limit, so it knows.

A topic that was deleted takes its positions along, too, and one made anew under its name has other records at the same
offsets: those must not be passed over. So the record of the newest entry must be no newer than the entry.
"""

from collections.abc import Collection

import structlog
from confluent_kafka import Message

from schemas.codec import DecodeError
from schemas.outcome import LedgerEntry
from streams.engine.catch_up import LogReader
from streams.engine.raw_record import offset_of, partition_of, recorded_at
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
            RefusedError: the ledger holds an entry that this version cannot read, or speaks of other records.
        """
        newest: dict[int, LedgerEntry] = {}
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
                        known = newest.get(entry.partition)
                        if known is None or entry.last_offset > known.last_offset:
                            newest[entry.partition] = entry
        for entry in newest.values():
            await self._must_be_about_the_log(entry)
        found = {partition: entry.last_offset + 1 for partition, entry in newest.items()}
        if found:
            log.warning("positions_taken_from_ledger", stage=self._spec.name, positions=found)
        return found

    async def _must_be_about_the_log(self, entry: LedgerEntry) -> None:
        """Look at the last record that an entry speaks of, if the log still has it."""
        place = entry.last_offset
        async for messages in self._reader.read(self._spec.reads, entry.partition, start=place, stop=place + 1):
            if any(recorded_at(message) > entry.decided_at for message in messages):
                raise RefusedError(
                    f"{self._spec.name} {entry.topic} partition {entry.partition} has no committed position, and its"
                    f" ledger speaks of a record {place} that is older than the one in the log: the topic was created"
                    " anew (or a publisher's clock is ahead). docs/commands.md (verify) says how to set a position"
                )


def _entry(message: Message) -> LedgerEntry:
    try:
        entry: LedgerEntry = topics.LEDGER.codec.decode(message.value())
    except DecodeError as error:
        raise RefusedError(
            f"{topics.LEDGER.name} {partition_of(message)}/{offset_of(message)} cannot be read ({error}), and the"
            " group's positions are gone: start a worker of the version that wrote it"
        ) from error
    return entry
