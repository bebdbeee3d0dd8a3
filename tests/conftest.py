"""The real stack for tests: started once a run, stopped at its end; every test gets a namespace of its own."""

import os
import random
import signal
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.log_history import LogFollower
from hypothesis import settings as hypothesis_settings

from infra.native.stack import Stack
from infra.native.state import StackState
from streams.cli.context import stack_settings
from streams.settings import Settings
from topology import provision

# A run in the background of a shell inherits an ignored SIGINT, and so would every process it starts: tests of Ctrl-C
# need the usual handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A law holds or does not; how long an example takes on a shared machine says nothing about it.
hypothesis_settings.register_profile("laws", deadline=None)
hypothesis_settings.load_profile("laws")


@pytest.fixture(scope="session")
def full_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackState]:
    """Kafka, Redis and Weaviate as native processes, with data of their own."""
    stack = Stack("full", home=tmp_path_factory.mktemp("stack"))
    try:
        yield stack.up()
    finally:
        stack.down(wipe=True)


@pytest.fixture(scope="session")
def kafka(full_stack: StackState) -> str:
    """Bootstrap servers of a real Kafka."""
    assert full_stack.kafka is not None
    return full_stack.kafka.bootstrap_servers


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Lock files of workers that tests kill go with the tests' other files: nobody takes their slots over."""
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of everything random in this run; printed in the report, set `TEST_SEED` to repeat a run."""
    return int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))


def pytest_report_header() -> str:
    """Say where the seed comes from."""
    return f"TEST_SEED={os.environ.get('TEST_SEED', 'drawn per run')}"


@pytest.fixture
def namespace() -> str:
    """A prefix that no other test has."""
    return "".join(random.SystemRandom().choices(string.ascii_lowercase, k=8)) + "."


@pytest.fixture
def settings(full_stack: StackState, namespace: str) -> Settings:
    """Settings for the full stack: Weaviate, four partitions, a namespace of the test's own, topics created."""
    settings = stack_settings(Settings(), full_stack).replace("kafka", namespace=namespace, partitions=4)
    create_topics(settings)
    return settings


@pytest.fixture
def light_settings(full_stack: StackState, namespace: str, tmp_path: Path) -> Settings:
    """The same with a SQLite store of the test's own, as on the light stack."""
    settings = stack_settings(Settings(), full_stack).replace("kafka", namespace=namespace, partitions=4)
    settings = settings.replace("store", kind="sqlite", path=str(tmp_path / "store.db"))
    create_topics(settings)
    return settings


@pytest.fixture
def follow() -> Iterator[Callable[..., LogFollower]]:
    """Makes followers of the log that workers leave; all are closed at the end."""
    followers: list[LogFollower] = []

    def make(settings: Settings, **options: Any) -> LogFollower:
        followers.append(LogFollower(settings, **options))
        return followers[-1]

    try:
        yield make
    finally:
        for follower in followers:
            follower.__exit__(None, None, None)


def create_topics(settings: Settings) -> None:
    """Create the topics of a namespace."""
    kafka = settings.kafka
    provision.apply(
        kafka.bootstrap_servers, namespace=kafka.namespace, partitions=kafka.partitions, replication=kafka.replication
    )
