"""Quix Streams: reading raw or JSON values, and writing one output for each in its exactly-once mode."""

import tempfile
from collections.abc import Callable
from typing import Any, Literal

from quixstreams import Application  # type: ignore[import-not-found]  # lives in an environment of its own

from benchmarks.engine.contender import Result, Tally, Task, main


def _application(task: Task, tally: Tally, folder: str, guarantee: str) -> Any:
    def seen(_: str, partition: int, offset: int) -> None:
        tally.begin()
        tally.add(partition, offset)
        if tally.is_over:
            tally.end()
            application.stop()

    application = Application(
        broker_address=task.bootstrap_servers,
        consumer_group=f"bench-{task.run}",
        auto_offset_reset="earliest",
        processing_guarantee=guarantee,
        on_message_processed=seen,
        state_dir=folder,
        auto_create_topics=False,
        loglevel="WARNING",
    )
    return application


def _consume(values: Literal["bytes", "json"]) -> Callable[[Task], Result]:
    def run(task: Task) -> Result:
        tally = Tally(task)
        with tempfile.TemporaryDirectory() as folder:
            application = _application(task, tally, folder, "at-least-once")
            frame = application.dataframe(application.topic(task.topic, value_deserializer=values))
            frame.update(lambda _: None)
            application.run()
        return tally.result()

    return run


def exactly_once(task: Task) -> Result:
    """One output each; a transaction lasts as long as its checkpoints do by default, which is 5 s."""
    tally = Tally(task)
    with tempfile.TemporaryDirectory() as folder:
        application = _application(task, tally, folder, "exactly-once")
        frame = application.dataframe(application.topic(task.topic, value_deserializer="bytes"))
        frame.to_topic(application.topic(task.output, value_serializer="bytes"))
        application.run()
    tally.end()  # the last checkpoint is committed when it has stopped
    return tally.result()


if __name__ == "__main__":
    main({"raw": _consume("bytes"), "json": _consume("json"), "exactly_once": exactly_once})
