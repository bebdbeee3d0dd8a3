"""Partitions, buckets and names are functions of the user alone and agree with each other."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import UserKey
from topology import keys

TENANTS = st.text(st.characters(codec="utf-8", exclude_characters="/", exclude_categories=["Cc", "Cs"]), min_size=1)
USER_IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
USERS = st.builds(UserKey, TENANTS, USER_IDS)
CONVERSATIONS = st.text(st.characters(codec="utf-8"), min_size=1)


@pytest.mark.parametrize(
    ("key", "signed_hash"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_the_java_client(key: bytes, signed_hash: int) -> None:
    """The values of Kafka's own test (`UtilsTest.testMurmur2`), with the sign bit cleared as its partitioner does."""
    assert keys.murmur2(key) == signed_hash & 0x7FFFFFFF


@given(st.binary())
def test_murmur2_is_a_positive_int_of_java(key: bytes) -> None:
    """Every key has a hash from 0 to 2^31 - 1."""
    assert 0 <= keys.murmur2(key) < 2**31


@given(USERS, st.integers(1, 200))
def test_a_bucket_belongs_to_one_partition(user: UserKey, partitions: int) -> None:
    """A user's bucket modulo the partitions is the user's partition, so a micro-batch touches few buckets."""
    bucket = keys.bucket_of(user, keys.buckets_for(partitions))
    assert bucket % partitions == keys.partition_of(user, partitions)
    assert 0 <= bucket < keys.buckets_for(partitions)


@given(USERS, USERS, CONVERSATIONS, CONVERSATIONS)
def test_keys_of_two_users_or_conversations_differ(one: UserKey, other: UserKey, here: str, there: str) -> None:
    """Nobody's record stands under the key of another user or conversation."""
    assert (keys.user_key_bytes(one) == keys.user_key_bytes(other)) == (one == other)
    same_window = keys.window_key_bytes(one, here) == keys.window_key_bytes(other, there)
    assert same_window == ((one, here) == (other, there))
    assert keys.window_key_bytes(one, here) != keys.user_key_bytes(other)


@given(USERS, st.text(min_size=1, max_size=5), st.integers(1, 9))
def test_cache_keys_of_one_user_share_a_slot(user: UserKey, memory_id: str, generation: int) -> None:
    """The part in braces, which a Redis cluster hashes, is the user, on every key of that user."""
    version = keys.cache_version_key(user, generation=generation)
    memory = keys.cache_object_key(user, memory_id, generation=generation)
    assert f"{{{user}}}" in version
    assert memory.startswith(version.replace(":version:", ":memory:"))
    assert version != keys.cache_version_key(user, generation=generation + 1)


@given(st.text(), st.integers(1, 10**6))
def test_collection_names_are_what_weaviate_takes(namespace: str, generation: int) -> None:
    """Whatever the namespace, the names start with a capital and hold letters, digits and underscores."""
    for name in (
        keys.collection_name(namespace=namespace, generation=generation),
        keys.alias_name(namespace=namespace),
    ):
        assert re.fullmatch(r"[A-Z][_0-9A-Za-z]{0,}", name)


def test_installations_and_generations_do_not_share_names() -> None:
    """Namespace, generation, stage and instance all separate."""
    ids = {
        keys.transactional_id("record", "a"),
        keys.transactional_id("record", "b"),
        keys.transactional_id("embed", "a"),
        keys.transactional_id("record", "a", generation=2),
        keys.transactional_id("record", "a", namespace="blue."),
    }
    assert len(ids) == 5
