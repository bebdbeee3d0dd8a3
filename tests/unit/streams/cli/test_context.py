"""What all commands share: whose settings win, what errors look like, what exit codes mean."""

import json
import os
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from infra.native import state
from infra.native.state import KafkaAddress, RedisAddress, SqliteAddress, StackState, WeaviateAddress
from streams.cli.context import json_option, print_json, reports_errors, resolve, settings_options
from streams.errors import AwayError, NothingThereError, RefusedError, UsageError
from streams.settings import PREFIX, Settings
from topology.cluster import AWAY_NEXT
from topology.topics import LAPTOP_PARTITIONS

LIGHT = StackState(
    state="up",
    mode="light",
    kafka=KafkaAddress("stack:9092"),
    redis=RedisAddress("redis://stack:6379/0"),
    store=SqliteAddress("store.db"),
)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests, and no stack of it, reaches them."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setattr(state, "find", lambda: None)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[[StackState], None]:
    """Says which stack runs."""
    return lambda stack: monkeypatch.setattr(state, "find", lambda: stack)


def invoke(body: Callable[..., object], *arguments: str) -> Result:
    """Run a command with the settings options and the given body."""
    return CliRunner().invoke(click.command()(settings_options(body)), arguments)


def test_without_any_address_there_is_nothing_to_talk_to() -> None:
    """No option, no environment, no stack: the error says how to start one."""
    with pytest.raises(NothingThereError) as caught:
        resolve({})
    assert "memstream dev" in caught.value.next_step


def test_options_win_over_the_environment_and_that_over_the_stack(
    monkeypatch: pytest.MonkeyPatch, running: Callable[[StackState], None]
) -> None:
    """Each of the three is used where the ones before it say nothing."""
    running(LIGHT)
    monkeypatch.setenv("MEMSTREAM_REDIS_URL", "redis://environment:6379/0")
    monkeypatch.setenv("MEMSTREAM_KAFKA_NAMESPACE", "environment.")
    settings = resolve({"kafka.namespace": "option."})
    assert settings.kafka.namespace == "option."
    assert settings.redis.url == "redis://environment:6379/0"
    assert settings.kafka.bootstrap_servers == "stack:9092"
    assert (settings.store.kind, settings.store.path) == ("sqlite", "store.db")
    assert settings.kafka.partitions == LAPTOP_PARTITIONS


def test_another_kafka_has_nothing_of_the_stack(running: Callable[[StackState], None]) -> None:
    """Another log is never searched in, written to or mended in the store that belongs to the stack's."""
    running(LIGHT)
    assert resolve({"kafka.bootstrap_servers": "stack:9092"}).store.path == "store.db"
    other = resolve({"kafka.bootstrap_servers": "other:9092"})
    assert other == Settings().replace("kafka", bootstrap_servers="other:9092")


def test_a_full_stack_brings_its_weaviate(running: Callable[[StackState], None]) -> None:
    """The store's addresses and key come with the stack."""
    weaviate = WeaviateAddress(http="http://stack:8080", grpc="stack:50051", api_key="key")
    running(StackState(state="up", mode="full", kafka=LIGHT.kafka, redis=LIGHT.redis, store=weaviate))
    store = resolve({}).store
    assert (store.kind, store.http, store.grpc, store.api_key) == ("weaviate", weaviate.http, weaviate.grpc, "key")


def test_a_stack_that_is_down_is_no_stack(running: Callable[[StackState], None]) -> None:
    """The addresses that it had are not used."""
    running(StackState(state="down", mode="light", kafka=LIGHT.kafka, redis=LIGHT.redis, store=LIGHT.store))
    with pytest.raises(NothingThereError):
        resolve({})


def test_a_setting_without_group_is_refused() -> None:
    """`--set` needs GROUP.NAME=VALUE, and says so with an example."""
    with pytest.raises(UsageError, match=r"not GROUP\.NAME=VALUE") as caught:
        resolve({"partitions": "4"})
    assert "--set" in caught.value.next_step
    for text in ("partitions=4", "store.kind", "store.=sqlite"):
        result = invoke(lambda **_: None, "--bootstrap-servers", "here:1", "--set", text)
        assert (result.exit_code, result.stderr.partition(": not ")[2].partition("\n")[0]) == (2, "GROUP.NAME=VALUE")


def test_a_command_gets_its_settings_from_its_options() -> None:
    """All three options end in the settings, and the last of two equal ones counts."""

    def body(*, settings: Settings) -> None:
        click.echo(f"{settings.kafka.bootstrap_servers} {settings.kafka.namespace} {settings.store.path}")

    result = invoke(
        body,
        *("--bootstrap-servers", "here:1", "--namespace", "n.", "--set", "store.path=a", "--set", "store.path=b=c"),
    )
    assert (result.exit_code, result.stdout) == (0, "here:1 n. b=c\n")


def test_a_command_without_a_stack_exits_with_three() -> None:
    """What was wrong and what to do go to standard error, nothing to standard output."""
    result = invoke(lambda **_: None)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: no stack is running")
    assert "\nnext: start one with" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        (UsageError("this cannot be", next_step="do that"), 2, "error: this cannot be\nnext: do that\n"),
        (NothingThereError("nobody there", next_step="start it"), 3, "error: nobody there\nnext: start it\n"),
        (AwayError("no answer"), 3, f"error: no answer\nnext: {AWAY_NEXT}\n"),
        (RefusedError("the store says no"), 1, "error: the store says no\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_become_messages_and_exit_codes(error: BaseException, code: int, stderr: str) -> None:
    """Each kind of error of ours has its exit code, and none shows a traceback."""

    @click.command()
    @reports_errors
    def command() -> None:
        raise error

    result = CliRunner().invoke(command)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", stderr)


def test_a_bug_keeps_its_traceback() -> None:
    """What is no error of ours is not dressed up as one."""

    @click.command()
    @reports_errors
    def command() -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(command).exception, ZeroDivisionError)


def test_json_is_one_line_of_standard_output() -> None:
    """Programs read one document per line, in UTF-8."""

    @click.command()
    @json_option
    def command(*, as_json: bool) -> None:
        print_json({"json": as_json, "text": "two\nlines, 東京"})

    result = CliRunner().invoke(command, ["--json"])
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == {"json": True, "text": "two\nlines, 東京"}
