"""The six agents, in event order: each hands its chunks to the engine, which settles them batch by batch.

```
conversation.events ─► record, extract ─► memory.candidates ─► embed ─► memory.embedded ─► consolidate
    ─► memory.changes ─► index ─► memory.indexed ─► invalidate
```

An agent never raises and never acknowledges: hence the one loop that they share. What becomes of the records is said by
the stage (`streams.stages`), how they are settled by the engine (`streams.engine.runner`).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from faust import StreamT

from streams.clock import Clock
from streams.engine.chunk import Chunk
from streams.engine.stage import Stage
from streams.engine.steps import Observe, unobserved
from streams.faust_worker.app import StageApp
from streams.settings import Settings
from streams.stages import consolidate, embed, extract, index, invalidate, record
from topology.graph import StageName

STAGES: dict[StageName, Callable[[Settings, Clock], Stage[Any]]] = {
    # every turn becomes a candidate at once; misplaced events are sent on their way
    StageName.RECORD: record.create,
    # windows of turns go to the extractor; what it finds becomes candidates
    StageName.EXTRACT: extract.create,
    # candidates get their vectors, in batches over users
    StageName.EMBED: embed.create,
    # candidates become memories, per user and in order; every change is announced
    StageName.CONSOLIDATE: consolidate.create,
    # changes go to the store; once durable, that is announced
    StageName.INDEX: index.create,
    # cached state older than the store is made unreachable
    StageName.INVALIDATE: invalidate.create,
}


def create_app(
    name: StageName,
    *,
    settings: Settings,
    instance: str,
    clock: Clock,
    jitter: random.Random,
    observe: Observe = unobserved,
    alone: asyncio.Lock | None = None,
) -> StageApp:
    """The Faust app of one stage, with its agent."""
    app = StageApp(
        STAGES[name](settings, clock),
        settings=settings,
        instance=instance,
        clock=clock,
        jitter=jitter,
        observe=observe,
        alone=alone,
    )
    topic = app.topic(
        settings.kafka.namespace + app.stage.spec.reads.name, key_serializer="raw", value_serializer="raw"
    )

    @app.agent(topic, name=name)
    async def agent(chunks: StreamT[Chunk]) -> None:
        async for chunk in chunks.noack():
            app.runner.feed(chunk)

    return app
