"""Names of tenants and users that a caller gives: those that no event can have are refused, in an event's words."""

import msgspec

from schemas.conversation import ConversationEnded
from schemas.ids import DEFAULT_TENANT
from streams.errors import UsageError


def check_names(tenant: str | None = None, user_id: str | None = None) -> None:
    """Refuse names that no event can have; none stands for any.

    Raises:
        UsageError: nobody can be called so.
    """
    given = {"tenant": DEFAULT_TENANT if tenant is None else tenant, "user_id": "u" if user_id is None else user_id}
    try:
        "".join(given.values()).encode()
        msgspec.convert({**given, "type": "conversation_ended", "conversation_id": "c"}, ConversationEnded)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        named = " of ".join(
            f"{what} {name!r}" for what, name in (("user", user_id), ("tenant", tenant)) if name is not None
        )
        raise UsageError(
            f"no event can be about {named}: {error}",
            next_step="give the names that were published; no slash is in a tenant, no zero byte in a user",
        ) from None
