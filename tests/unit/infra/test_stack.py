"""What the stack decides before and after processes run."""

import os
from pathlib import Path

import pytest

from infra.native import processes, state
from infra.native.errors import PartError, PartUnknownError, StackConflictError, StackUnknownError
from infra.native.kafka import Kafka
from infra.native.part import Installation
from infra.native.processes import ProcessFacts
from infra.native.redis import Redis
from infra.native.stack import Stack
from infra.native.state import StackRecord, StackState


def installed_nowhere(folder: Path) -> Installation:
    """Return programs that do not exist."""
    return Installation(java=folder / "java", kafka_jars=folder, redis_server=folder / "redis", weaviate=None)


def test_a_start_that_fails_before_any_process_leaves_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where preparing fails on a first start, there is still no stack, and the error comes through."""
    monkeypatch.setattr(Stack, "_install", lambda _self, _progress: installed_nowhere(tmp_path))

    with pytest.raises(PartError, match="could not be formatted"):
        Stack("light", home=tmp_path).up()

    assert state.find(tmp_path) is None


def test_a_part_that_cannot_be_started_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a later part cannot be started at all, the earlier ones are stopped and the state says down."""
    monkeypatch.setattr(Stack, "_install", lambda _self, _progress: installed_nowhere(tmp_path))
    monkeypatch.setattr(Kafka, "prepare", lambda self, _installed: self.folder.mkdir(parents=True))
    monkeypatch.setattr(Kafka, "command", lambda _self, _installed: ["sleep", "60"])
    spawned: list[ProcessFacts] = []
    spawn = processes.spawn
    monkeypatch.setattr(processes, "spawn", lambda *words: spawned.append(spawn(*words)) or spawned[-1])

    with pytest.raises(PartError, match=r"cannot start .*redis"):
        Stack("light", home=tmp_path).up()

    assert [processes.is_alive(facts) for facts in spawned] == [False]
    found = state.find(tmp_path)
    assert found is not None
    assert (found.state, found.mode) == ("down", "light")


NEWER_DATA = {
    "started": """\
2026-11-21T18:27:29,954 ERROR ProcessTerminatingFaultHandler: Encountered fatal fault: caught exception
org.apache.kafka.server.common.serialization.MetadataParseException: Failed to deserialize record with type 0
	at kafka.Kafka.main(Kafka.scala)
Caused by: org.apache.kafka.common.errors.UnsupportedVersionException: Can't read version 4 of BrokerEndpoint
""",
    "formatted": """\
java.lang.RuntimeException: Tried to apply FeatureLevelRecord FeatureLevelRecord(name='metadata.version', \
featureLevel=30), but this controller only supports versions 7-29
	at java.base/java.lang.Thread.run(Thread.java:840)
""",
}
"""What Kafka 4.2.2 said of a folder in which Kafka 4.3.1 was started, and of one that it had only formatted."""


@pytest.mark.parametrize("log", NEWER_DATA.values(), ids=NEWER_DATA)
def test_data_of_a_newer_kafka_is_named_with_the_way_out(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's own words, a stack trace, become the cause and what can be done; nothing else is explained so."""
    part = tmp_path / "kafka"
    part.write_text(f"#!/bin/sh\ncat <<'END'\n{log}END\nexit 1\n")
    part.chmod(0o700)
    monkeypatch.setattr(Stack, "_install", lambda _self, _progress: installed_nowhere(tmp_path))
    monkeypatch.setattr(Kafka, "prepare", lambda self, _installed: self.folder.mkdir(parents=True, exist_ok=True))
    monkeypatch.setattr(Kafka, "command", lambda _self, _installed: [part])
    monkeypatch.setattr(Kafka, "is_ready", lambda _self: False)  # asking takes two seconds
    monkeypatch.setattr(Redis, "command", lambda _self, _installed: ["sleep", "60"])

    with pytest.raises(PartError, match=r"written by a newer Kafka than the \d+\.\d+\.\d+") as raised:
        Stack("light", home=tmp_path).up()
    assert str(tmp_path / "light" / "kafka") in raised.value.message
    assert "memstream stack down --wipe" in raised.value.next_step
    assert "loses all data" in raised.value.next_step

    part.write_text("#!/bin/sh\necho java.lang.OutOfMemoryError\nexit 1\n")
    with pytest.raises(PartError, match=r"kafka ended while starting: java\.lang\.OutOfMemoryError"):
        Stack("light", home=tmp_path).up()


def test_the_other_mode_is_refused_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One home has one stack: the second is refused at once, not after minutes of building."""
    monkeypatch.setattr(Stack, "_install", lambda _self, _progress: pytest.fail("fetched something"))
    started = processes.started(os.getpid())
    assert started is not None
    stack = StackState(state="up", mode="light")
    state.write(tmp_path, "light", StackRecord(stack=stack, processes={"kafka": ProcessFacts(os.getpid(), started)}))

    with pytest.raises(StackConflictError, match="a light stack is up"):
        Stack("full", home=tmp_path).up()


def test_a_stack_that_never_ran_has_no_parts(tmp_path: Path) -> None:
    """Parts that were never started can be neither asked, stopped nor killed."""
    stack = Stack("light", home=tmp_path)

    assert stack.parts() == []
    assert stack.down() == StackState()
    with pytest.raises(StackUnknownError, match="no light stack was started"):
        stack.stop_part("kafka")
    with pytest.raises(PartUnknownError, match="no part weaviate"):
        stack.logs("weaviate")
