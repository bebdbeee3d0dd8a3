"""What stands on an output topic for readers of committed records: the judge of exactly once."""

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from streams.engine import kafka
from streams.settings import KafkaSettings

_BATCH = 10_000


class _Numbered(msgspec.Struct):
    event_id: str


_DECODER = msgspec.json.Decoder(_Numbered)


def committed_numbers(settings: KafkaSettings, topic: str) -> list[int]:
    """The numbers of the events on a topic, read to its end, in any order."""
    consumer = Consumer(kafka.log_reader(settings, client_id="bench"))
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(settings.partitions)])
    unread = set(range(settings.partitions))
    numbers: list[int] = []
    try:
        while unread:
            for message in consumer.consume(_BATCH, 1.0):
                error = message.error()
                if error is None:
                    numbers.append(int(_DECODER.decode(message.value() or b"").event_id))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (librdkafka's own name for it)
                    unread.discard(message.partition())
                elif not error.retriable():
                    raise RuntimeError(f"reading {topic}: {error.str()}")
    finally:
        consumer.close()
    return numbers
