"""A consumer group's member in a process of its own, to be killed: joins, says which partitions it has, polls on."""

import json
import sys
from typing import Any

from confluent_kafka import Consumer


def main() -> None:
    """Arguments: the client's configuration as JSON, the topic."""
    config: dict[str, Any] = json.loads(sys.argv[1])
    consumer = Consumer(config)
    consumer.subscribe(
        [sys.argv[2]], on_assign=lambda _, partitions: print(json.dumps([p.partition for p in partitions]), flush=True)
    )
    while True:
        consumer.poll(0.1)


if __name__ == "__main__":
    main()
