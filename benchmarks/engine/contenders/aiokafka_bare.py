"""Faust's own client, bare: `getmany` on uvloop; nothing is committed."""

import uvloop
from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]

from benchmarks.engine.contender import Result, Tally, Task, main


def getmany(task: Task) -> Result:
    """Fetch in a loop, without a limit on what one call returns, which is the fastest."""
    return uvloop.run(_getmany(task))


async def _getmany(task: Task) -> Result:
    consumer = AIOKafkaConsumer(
        task.topic,
        bootstrap_servers=task.bootstrap_servers,
        group_id=f"bench-{task.run}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    tally = Tally(task)
    while not tally.is_over:
        for place, records in (await consumer.getmany(timeout_ms=100)).items():
            tally.begin()
            tally.add_all(place.partition, [record.offset for record in records])
    tally.end()
    await consumer.stop()
    return tally.result(loop="uvloop")


if __name__ == "__main__":
    main({"getmany": getmany})
