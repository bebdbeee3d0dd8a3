"""A consumer group's member in a process of its own, to be killed: joins, says which partitions it has, polls on."""

import json
import sys
from typing import Any

from confluent_kafka import Consumer, TopicPartition


def main() -> None:
    """Arguments: the client's configuration as JSON, the topic."""
    config: dict[str, Any] = json.loads(sys.argv[1])
    consumer = Consumer(config)

    def say(_: Consumer, partitions: list[TopicPartition]) -> None:
        sys.stdout.write(json.dumps(sorted(p.partition for p in partitions)) + "\n")
        sys.stdout.flush()

    consumer.subscribe([sys.argv[2]], on_assign=say)
    while True:
        consumer.poll(0.1)


if __name__ == "__main__":
    main()
