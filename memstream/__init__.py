"""The public Python API of memstream.

Publish conversation events with `ConversationPublisher`, follow what becomes of them with `MemoryChanges`, and search
with `MemoryReader`. `Settings` says where the parts are; `find_settings` finds them as commands do (`MEMSTREAM_*` in
the environment over the stack that runs on this machine), `settings_from_environment` reads the environment alone.
"""

from schemas.conversation import ConversationEnded, Correction, Forget, Turn
from schemas.memory import Memory, MemoryChange, Op
from streams.cli.context import find_settings
from streams.clients.changes import MemoryChanges, PlacedChange
from streams.clients.publisher import ConversationPublisher, Receipt
from streams.clients.reader import MemoryReader, SearchResult
from streams.errors import MemstreamError, TransientError, UsageError
from streams.settings import Settings
from streams.settings import from_environment as settings_from_environment

__all__ = [
    "ConversationEnded",
    "ConversationPublisher",
    "Correction",
    "Forget",
    "Memory",
    "MemoryChange",
    "MemoryChanges",
    "MemoryReader",
    "MemstreamError",
    "Op",
    "PlacedChange",
    "Receipt",
    "SearchResult",
    "Settings",
    "TransientError",
    "Turn",
    "UsageError",
    "find_settings",
    "settings_from_environment",
]
