"""The client library underneath, bare: what the machine can do with no framework at all."""

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from benchmarks.engine.contender import Result, Tally, Task, main
from streams.engine import kafka
from streams.settings import KafkaSettings

_CALL_S = 60.0


def consume(task: Task) -> Result:
    """`consume(n)` in a loop; nothing is committed."""
    consumer = _consumer(task)
    tally = Tally(task)
    while not tally.is_over:
        messages = consumer.consume(task.batch, 0.1)
        if messages:
            tally.begin()
            _add(tally, messages)
    tally.end()
    consumer.close()
    return tally.result(consume=task.batch)


def exactly_once(task: Task) -> Result:
    """One thread: consume, produce one output each and one ledger record, send the offsets, commit.

    The producer is configured as ours is. A batch waits until it is full, unless the topic ends.
    """
    assert task.output is not None
    consumer = _consumer(task)
    producer = Producer(
        kafka.transactional_producer(
            KafkaSettings(bootstrap_servers=task.bootstrap_servers),
            client_id="bench",
            transactional_id=f"bench-{task.run}",
        )
    )
    producer.init_transactions(_CALL_S)
    tally = Tally(task)
    while not tally.is_over:
        messages = consumer.consume(min(task.batch, task.records - tally.records), 1.0)
        if not messages:
            continue
        tally.begin()
        producer.begin_transaction()
        ends: dict[int, int] = {}
        for message in messages:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            _produce(producer, task.output, message.value(), message.key(), partition)
            ends[partition] = offset + 1
        _produce(producer, task.ledger, repr(ends).encode(), b"bench", 0)
        offsets = [TopicPartition(task.topic, partition, end) for partition, end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), _CALL_S)
        producer.commit_transaction(_CALL_S)
        _add(tally, messages)
        tally.transactions += 1
    tally.end()
    consumer.close()
    return tally.result(transaction=task.batch)


def _consumer(task: Task) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": task.bootstrap_servers,
            "group.id": f"bench-{task.run}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([task.topic])
    return consumer


def _produce(producer: Producer, topic: str, value: bytes | None, key: bytes | None, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value=value, key=key, partition=partition)
        except BufferError:
            producer.poll(0.05)
        else:
            return


def _add(tally: Tally, messages: list[Message]) -> None:
    for message in messages:
        if message.error() is not None:
            raise SystemExit(f"error: {message.error()}")
        tally.offsets[message.partition()].append(message.offset())  # type: ignore[arg-type, index]  # no error: a record
    tally.records += len(messages)


if __name__ == "__main__":
    main({"consume": consume, "exactly_once": exactly_once})
