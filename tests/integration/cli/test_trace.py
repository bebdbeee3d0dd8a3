"""`memstream trace` behind a running worker."""

import json
from collections.abc import Callable

import pytest
from integration.cli.conftest import Command, PublishRaw, StartWorker

from schemas.ids import UserKey
from streams.clients.status import Status
from topology import keys
from topology.graph import GRAPH

pytestmark = pytest.mark.stack

MARIA = UserKey("acme", "maria")
HERE = keys.partition_of(MARIA, 4)
TURN = (
    b'{"type": "turn", "tenant": "acme", "user_id": "maria", "conversation_id": "c", "role": "user",'
    b' "content": "I moved to Berlin last week."%s}'
)
WITH_ID = TURN % b', "event_id": "moved"'
ENDED = b'{"type": "conversation_ended", "tenant": "acme", "user_id": "maria", "conversation_id": "c"}'


def test_a_turn_is_followed_to_the_cache(
    memstream: Command, start_worker: StartWorker, settled: Callable[[], Status]
) -> None:
    """A turn shows up in every stage, as a turn and as the fact found in it, and is settled."""
    start_worker()
    assert memstream("publish", "-", given=WITH_ID + b"\n" + ENDED).returncode == 0
    settled()
    done = memstream("trace", "moved", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["user_id"], found["type"], found["settled"]) == ("maria", "turn", True)
    assert {hop["stage"] for hop in found["hops"]} == {"publish", *(spec.name for spec in GRAPH)}
    assert all(hop["outcome"] in ("published", "applied") and hop["partition"] == HERE for hop in found["hops"])
    assert [hop["stage"] for hop in found["hops"]].count("consolidate") == 2
    assert memstream("trace", "moved", "--user", "maria", "--tenant", "acme", "--json").stdout == done.stdout
    assert "memory.indexed.v1" in memstream("trace", "moved").stdout.decode()


def test_a_misplaced_event_without_id_is_followed_by_its_first_place(
    memstream: Command, start_worker: StartWorker, publish_raw: PublishRaw, settled: Callable[[], Status]
) -> None:
    """An event in the wrong partition is named by that place, and followed to where its copy went."""
    start_worker()
    elsewhere = (HERE + 1) % 4
    publish_raw(TURN % b"", key=None, partition=elsewhere)
    settled()
    found = json.loads(memstream("trace", f"{elsewhere}-0", "--json").stdout)
    outcomes = {hop["partition"]: hop["outcome"] for hop in found["hops"] if hop["stage"] == "record"}
    assert outcomes == {elsewhere: "filtered", HERE: "applied"}
    assert [hop["outcome"] for hop in found["hops"] if hop["stage"] == "invalidate"]


def test_an_unknown_event_exits_with_1(memstream: Command) -> None:
    """What is not in the log is said so, with a next step."""
    done = memstream("trace", "nothing")
    assert done.returncode == 1
    assert b"next: " in done.stderr
