"""The head's digest follows the user's memories, and a change leaves behind the memory that it carries."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.golden.samples import ADDED, ERASED
from schemas.memory import Memory, MemoryChange, pair_digest, replace_in_digest

STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=30)


def digest_of(memories: dict[str, int]) -> bytes:
    """The digest, computed from scratch."""
    return (sum(pair_digest(name, revision) for name, revision in memories.items()) % 2**128).to_bytes(16, "big")


@given(STEPS)
def test_the_digest_kept_up_is_the_digest_computed_from_scratch(steps: list[tuple[str, bool]]) -> None:
    """After any additions, changes and erasures, the digest is that of the memories that are there, in any order."""
    memories: dict[str, int] = {}
    digest = bytes(16)
    for revision, (name, erase) in enumerate(steps, start=1):
        new_revision = None if erase else revision
        digest = replace_in_digest(digest, name, old_revision=memories.get(name), new_revision=new_revision)
        memories.pop(name, None)
        if new_revision is not None:
            memories[name] = new_revision
        assert digest == digest_of(dict(reversed(memories.items())))


def test_memories_that_differ_have_other_digests() -> None:
    """A missing, an additional and an outdated memory each show."""
    digests = [digest_of(m) for m in ({}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1})]
    assert len(set(digests)) == len(digests)


def test_a_change_leaves_behind_the_memory_that_it_carries() -> None:
    """Every field that memory and change share is the same in both."""
    memory = Memory.after(ADDED)
    shared = set(Memory.__struct_fields__) & set(MemoryChange.__struct_fields__)
    assert shared >= set(Memory.__struct_fields__) - {"v"}
    for name in shared - {"v"}:
        assert getattr(memory, name) == getattr(ADDED, name), name


def test_an_erased_memory_leaves_nothing_behind() -> None:
    """There is no memory after an erasure, and asking for it says so."""
    with pytest.raises(ValueError, match="erased leaves no memory"):
        Memory.after(ERASED)


def test_an_erasure_carries_no_text() -> None:
    """The text is absent from the bytes, not merely empty."""
    assert b'"text"' in msgspec.json.encode(ADDED)
    assert b"text" not in msgspec.json.encode(ERASED)
