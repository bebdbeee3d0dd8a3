"""Bytewax: raw records from its Kafka source into a sink that counts; one worker."""

from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]  # lives in an environment of its own
from bytewax.connectors.kafka import KafkaSource  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.outputs import DynamicSink, StatelessSinkPartition  # type: ignore[import-not-found]
from bytewax.testing import run_main  # type: ignore[import-not-found]

from benchmarks.engine.contender import Result, Tally, Task, main


class _Counting(StatelessSinkPartition):  # type: ignore[misc]
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def write_batch(self, items: list[Any]) -> None:
        self._tally.begin()
        for item in items:
            self._tally.offsets[item.partition].append(item.offset)
        self._tally.records += len(items)
        if self._tally.is_over:
            self._tally.end()


class _Sink(DynamicSink):  # type: ignore[misc]
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Counting:  # noqa: ARG002  (its signature)
        return _Counting(self._tally)


def raw(task: Task) -> Result:
    """Read to the end of the topic."""
    tally = Tally(task)
    flow = Dataflow("bench")
    source = KafkaSource([task.bootstrap_servers], [task.topic], tail=False, batch_size=task.batch)
    op.output("out", op.input("in", flow, source), _Sink(tally))
    run_main(flow)
    return tally.result(batch_size=task.batch)


if __name__ == "__main__":
    main({"raw": raw})
