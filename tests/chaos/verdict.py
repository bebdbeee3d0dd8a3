"""How every chaos test ends: log, store, cache and journals are one history in which nothing is lost or doubled."""

from collections.abc import Sequence

from chaos.journal import Entry
from chaos.journal_checks import check_covers, check_not_settled_again
from e2e.conversations import Conversations
from e2e.log_audit import assert_sound, audit, fold_of
from e2e.log_history import LogHistory

from streams.settings import Settings


async def assert_nothing_lost_or_doubled(
    history: LogHistory, settings: Settings, conversations: Conversations, entries: Sequence[Entry]
) -> None:
    """The audit over log, store and cache, the journals beside it, and every turn that was acknowledged."""
    assert_sound([*await audit(history, settings), *check_covers(entries, history), *check_not_settled_again(entries)])
    assert turns_of(history) == conversations.memory_ids()


def turns_of(history: LogHistory) -> dict[object, set[str]]:
    """User to the turns that are remembered."""
    return {
        user: {memory.memory_id for memory in memories.values() if memory.kind == "turn"}
        for user, memories in fold_of(history).items()
    }
