"""Writes records with a header whose name is not UTF-8, which the Kafka protocol forbids and brokers let pass.

Run as a program, with one argument: servers, topic, partition, and keys and values in base64, as JSON. A process of its
own, since only aiokafka's encoder in Python lets such a name through, and which one is used is settled at its import.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence


class _Name(str):
    """A header's name that becomes bytes that are no text."""

    __slots__ = ()

    def encode(self, *_: object, **__: object) -> bytes:
        """Return Latin-1."""
        return b"caf\xe9"


def produce(servers: str, topic: str, partition: int, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Write records, each a key and a value, all with such a header."""
    coded = [[base64.b64encode(part).decode() for part in record] for record in records]
    subprocess.run(
        [sys.executable, __file__, json.dumps([servers, topic, partition, coded])],
        env=os.environ | {"AIOKAFKA_NO_EXTENSIONS": "1"},
        check=True,
        timeout=30,
    )


async def _produce(servers: str, topic: str, partition: int, coded: list[list[str]]) -> None:
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for record in coded:
            key, value = map(base64.b64decode, record)
            await producer.send_and_wait(topic, value, key=key, partition=partition, headers=[(_Name("x"), b"1")])


if __name__ == "__main__":
    asyncio.run(_produce(*json.loads(sys.argv[1])))
