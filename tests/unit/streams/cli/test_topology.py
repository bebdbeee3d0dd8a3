"""`memstream topology`: what it prints, what it exits with; the cluster is played by the plan."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.cli.topology import topology
from topology import describe, provision
from topology.provision import Difference, DifferenceKind, KafkaAwayError, ProvisionError

MISSING = Difference(
    topic="memory.dlq.v1", kind=DifferenceKind.MISSING, wanted="4 partitions", explanation="it does not exist"
)
CONFIG = Difference(
    topic="memory.dlq.v1",
    kind=DifferenceKind.CONFIG,
    setting="retention.ms",
    actual="1",
    wanted="-1",
    explanation="retention.ms is 1, not -1",
)
COPIES = Difference(
    topic="memory.dlq.v1", kind=DifferenceKind.REPLICATION, actual="1", wanted="3", explanation="1 copies, not 3"
)
SOMEWHERE = ("--bootstrap-servers", "somewhere:9092", "--namespace", "n.", "--set", "kafka.partitions=4")


def invoke(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(topology, arguments)


def cluster_answers(monkeypatch: pytest.MonkeyPatch, answer: list[Difference] | Exception) -> list[Any]:
    """Let `check` and `apply` answer so, and return what they are asked."""
    asked: list[Any] = []

    def call(bootstrap_servers: str, **kwargs: Any) -> list[Difference]:
        asked.append((bootstrap_servers, kwargs))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(provision, "check", call)
    monkeypatch.setattr(provision, "apply", call)
    return asked


def test_the_graph_is_printed_without_kafka() -> None:
    """Tables and picture for people, the same data for programs."""
    text = invoke()
    assert text.exit_code == 0
    assert text.stdout == f"{describe.tables()}\n\n{describe.mermaid()}\n"
    data = json.loads(invoke("--json").stdout)
    assert data == {**describe.as_data(), "mermaid": describe.mermaid()}


@pytest.mark.parametrize("command", ["check", "apply"])
def test_the_cluster_of_the_settings_is_asked(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Address, namespace and counts come from the settings."""
    asked = cluster_answers(monkeypatch, [])
    result = invoke(command, *SOMEWHERE)
    assert (result.exit_code, result.stdout) == (0, "the topics are what they must be\n")
    assert asked == [("somewhere:9092", {"namespace": "n.", "partitions": 4, "replication": 1})]


def test_check_explains_differences_and_exits_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every difference is explained; programs get all of it."""
    cluster_answers(monkeypatch, [MISSING, CONFIG])
    result = invoke("check", *SOMEWHERE)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "memory.dlq.v1: it does not exist",
        "memory.dlq.v1: retention.ms is 1, not -1",
        "2 differences",
    ]
    as_json = invoke("check", *SOMEWHERE, "--json")
    assert as_json.exit_code == 1
    data = json.loads(as_json.stdout)
    assert data["same"] is False
    assert data["differences"][1] == {
        "topic": "memory.dlq.v1",
        "kind": "config",
        "setting": "retention.ms",
        "actual": "1",
        "wanted": "-1",
        "explanation": "retention.ms is 1, not -1",
        "remedy": "alter",
    }


def test_apply_says_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Created, set or left alone: one line each, and success."""
    cluster_answers(monkeypatch, [MISSING, CONFIG, COPIES])
    result = invoke("apply", *SOMEWHERE)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "memory.dlq.v1: 4 partitions created",
        "memory.dlq.v1: retention.ms=-1 set",
        "memory.dlq.v1: replication left as it is",
    ]
    done = [d["done"] for d in json.loads(invoke("apply", *SOMEWHERE, "--json").stdout)["differences"]]
    assert done == ["created", "set", "left as it is"]


@pytest.mark.parametrize(
    ("error", "code"), [(ProvisionError("refused", "do this"), 1), (KafkaAwayError("nobody there", "start it"), 3)]
)
@pytest.mark.parametrize("command", ["check", "apply"])
def test_what_cannot_be_done_is_explained(
    monkeypatch: pytest.MonkeyPatch, command: str, error: ProvisionError, code: int
) -> None:
    """Cause and next step go to standard error; a cluster that differs and one that is away have two exit codes."""
    cluster_answers(monkeypatch, error)
    result = invoke(command, *SOMEWHERE)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == f"error: {error}\nnext: {error.next_step}\n"
