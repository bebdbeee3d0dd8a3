"""How types grow: the version rule and the upcasters.

The rule, in four sentences. A body says its version in `v`; without it, it is version 1. Within a version, fields may
be added if they have a default, and nothing else may change; readers ignore fields they do not know. Any other change
is a new version with an upcaster from the one before, registered here, so that a log can be read from its first record
for ever (backward-transitive). A version from the future is never guessed at: it is dead-lettered as
`unsupported_version` and can be redriven after the upgrade.

Stored samples of every version (`schemas.golden`) hold this code to the rule.

Topic names carry a major version of their own (`.v1`); it changes only when old and new consumers cannot share a topic.
"""

from collections.abc import Callable, Mapping
from typing import Any

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

CURRENT_VERSIONS: Mapping[str, int] = {
    "turn": 1,
    "conversation_ended": 1,
    "forget": 1,
    "correction": 1,
    "idle": 1,
    "candidate": 1,
    "embedded": 1,
    "watermark": 1,
    "change": 1,
    "memory": 1,
    "head": 1,
    "indexed": 1,
    "ledger": 1,
    "dead_letter": 1,
    "redriven": 1,
    "window": 1,
}
"""Newest version of each type this code writes and reads, by its tag."""

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""(tag, version) -> what turns that version's body into the next one. None yet: every type is at version 1."""


class FutureVersionError(ValueError):
    """The body is of a newer version than this code knows."""


def upcast(
    body: dict[str, Any],
    *,
    current: Mapping[str, int] = CURRENT_VERSIONS,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> dict[str, Any]:
    """Bring a decoded body to the current version of its type.

    Raises:
        FutureVersionError: the type is known, its version is not.
        ValueError: there is no such type, or its version is no whole number from 1.
    """
    tag = body.get("type")
    if not isinstance(tag, str) or tag not in current:
        raise ValueError(f"unknown type: {tag!r}")
    version = body.get("v", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"v of {tag} is no version: {version!r}")
    if version > current[tag]:
        raise FutureVersionError(f"{tag} version {version} is newer than this worker knows ({current[tag]})")
    while version < current[tag]:
        body = upcasters[tag, version](body)
        version += 1
        body = {**body, "v": version}
    return body
