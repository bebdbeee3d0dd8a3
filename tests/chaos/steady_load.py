"""Load that goes on while things break: every event is published until it is acknowledged."""

import asyncio
import itertools
from types import TracebackType
from typing import Self

from e2e.conversations import Conversations

from schemas.conversation import ConversationEvent
from streams.clients.publisher import ConversationPublisher
from streams.errors import TransientError
from streams.settings import Settings

_AT_ONCE = 5


class SteadyLoad:
    """Publishes conversations, in order and at a steady rate, until it is left; use it as an async context manager.

    An event whose acknowledgement did not come is published again, with the id it had, before anything behind it. When
    all have been published they are published again, which changes no memory.

    Args:
        settings: where to.
        conversations: what; enough of them for as long as it takes.
        events_per_s: how fast, at most.

    Attributes:
        acknowledged: events so far.
    """

    def __init__(self, settings: Settings, conversations: Conversations, *, events_per_s: float = 100.0) -> None:
        self._settings = settings
        self._conversations = conversations
        self._pause_s = _AT_ONCE / events_per_s
        self._enough = asyncio.Event()
        self._publishing: asyncio.Task[None] | None = None
        self.acknowledged = 0

    async def __aenter__(self) -> Self:
        self._publishing = asyncio.create_task(self._publish())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._publishing is not None
        self._enough.set()
        if kind is not None:
            self._publishing.cancel()
            await asyncio.wait({self._publishing})
            return
        await self._publishing

    async def wait_for_more(self, events: int, timeout_s: float = 60.0) -> None:
        """Return once so many more events have been acknowledged."""
        assert self._publishing is not None
        wanted = self.acknowledged + events
        async with asyncio.timeout(timeout_s):
            while self.acknowledged < wanted:
                if self._publishing.done():
                    self._publishing.result()
                await asyncio.sleep(0.02)

    @property
    def sent(self) -> Conversations:
        """What has been acknowledged, and so must be remembered; read it when the load has ended."""
        return Conversations(
            events=self._conversations.events[: self.acknowledged], language=self._conversations.language
        )

    async def _publish(self) -> None:
        async with ConversationPublisher(self._settings) as publisher:
            for start in itertools.count(step=_AT_ONCE):
                if self._enough.is_set():
                    return
                await self._until_acknowledged(publisher, start)
                await asyncio.sleep(self._pause_s)

    async def _until_acknowledged(self, publisher: ConversationPublisher, start: int) -> None:
        events = self._conversations.events
        these: list[ConversationEvent] = [events[index % len(events)] for index in range(start, start + _AT_ONCE)]
        while True:
            try:
                self.acknowledged += len(await publisher.publish_many(these))
            except TransientError:
                await asyncio.sleep(0.5)
            else:
                return
