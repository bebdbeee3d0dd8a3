"""Raw batch to micro-batch: what can be decoded goes to the stage, what cannot becomes a dead letter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas import headers
from schemas.codec import Codec, DecodeError
from schemas.outcome import Outcome, Reason, Verdict
from streams.engine.batcher import RawBatch
from streams.engine.ledger import Failed
from streams.engine.raw_record import headers_of
from streams.engine.stage import Consumed, MicroBatch
from topology.graph import StageSpec


@dataclass(kw_only=True)
class Decoded:
    """What decoding made of a raw batch; every record is in exactly one of the three, or was given up before.

    Attributes:
        batch: for the stage.
        undecodable: for the dead-letter topic.
        skipped: partition to the outcome of records that are not this stage's to dead-letter.
    """

    batch: MicroBatch[Any]
    undecodable: list[Failed] = field(default_factory=list)
    skipped: dict[int, list[Verdict]] = field(default_factory=dict)


def decode_batch(raw: RawBatch, *, codec: Codec[Any], spec: StageSpec, given_up: Sequence[Failed] = ()) -> Decoded:
    """Decode a batch.

    A dead letter that was sent back is for one lane (`schemas.headers.LANE`). If it still cannot be decoded, only that
    lane dead-letters it again; otherwise its letters would double with every round.

    Args:
        raw: as taken.
        codec: decodes the stage's input.
        spec: the stage; its lane tells whose letters are its own.
        given_up: records that have failed alone; the batch settles them without showing them to the stage.
    """
    given_up_messages = {id(letter.message) for letter in given_up}
    decode = codec.decode
    records: list[Consumed[Any]] = []
    last_offsets: dict[int, int] = {}
    decoded = Decoded(batch=MicroBatch(records=records, last_offsets=last_offsets))
    for part in raw.parts:
        partition = part.lease.partition
        last_offsets[partition] = part.last_offset
        for message in part.records:  # a hundred thousand a second and more: nothing is done here that need not be
            if given_up_messages and id(message) in given_up_messages:
                continue
            offset: Any = message.offset()
            value: Any = message.value()
            key: Any = message.key()
            record_headers = headers_of(message)
            try:
                event = decode(value)
            except DecodeError as error:
                if spec.lane is not None and headers.only_lane(record_headers) not in (None, spec.lane):
                    verdict = Verdict(offset, Outcome.FILTERED, Reason.OTHER_LANE)
                    decoded.skipped.setdefault(partition, []).append(verdict)
                else:
                    letter = Failed(message=message, reason=error.reason, error=str(error), attempts=1)
                    decoded.undecodable.append(letter)
            else:
                timestamp_ms = message.timestamp()[1]
                records.append(Consumed(partition, offset, timestamp_ms, key, value, record_headers, event))
    return decoded
