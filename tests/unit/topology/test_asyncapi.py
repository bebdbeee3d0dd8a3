"""The AsyncAPI document is valid AsyncAPI 3.0, says what is true of the topics, and its examples are valid."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas import headers
from topology import asyncapi
from topology.topics import TOPICS, Audience

OFFICIAL_SCHEMA = json.loads((Path(__file__).parent / "asyncapi-3.0.0.schema.json").read_text())
OFFICIAL = jsonschema.Draft7Validator(OFFICIAL_SCHEMA)
DOCUMENT = asyncapi.document()
MESSAGES = DOCUMENT["components"]["messages"]


def resolve(reference: str) -> Any:
    """What a reference within the document points at."""
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def references(part: Any) -> list[str]:
    """Every reference within a part of the document."""
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [found for value in part.values() for found in references(value)]
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


def test_the_document_is_valid_asyncapi() -> None:
    """It obeys the specification's own schema."""
    OFFICIAL.validate(DOCUMENT)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("asyncapi",), "2.6.0"),
        (("info", "version"), 1),
        (("channels", "conversation.events.v1", "bindings", "kafka", "partitions"), "twelve"),
        (("operations", "receiveConversationEvents", "action"), "publish"),
        (("components", "schemas", "Turn", "type"), "struct"),
    ],
)
def test_the_official_schema_is_really_asked(path: tuple[str, ...], value: Any) -> None:
    """A mistake anywhere in the document makes it invalid, so that the test above can fail."""
    document = copy.deepcopy(DOCUMENT)
    part = document
    for step in path[:-1]:
        part = part[step]
    assert path[-1] in part
    part[path[-1]] = value
    assert not OFFICIAL.is_valid(document)


def test_every_reference_points_at_something() -> None:
    """Nothing in the document dangles."""
    found = references(DOCUMENT)
    assert found
    for reference in found:
        assert resolve(reference), reference


def test_public_topics_are_channels_and_internal_ones_are_not() -> None:
    """The document promises the public topics and nothing else."""
    public = {spec.name: spec for spec in TOPICS if spec.audience is Audience.PUBLIC}
    assert set(DOCUMENT["channels"]) == set(public)
    for name, channel in DOCUMENT["channels"].items():
        configs = channel["bindings"]["kafka"]["topicConfiguration"]
        assert channel["address"] == name
        assert configs["cleanup.policy"] == ["delete"]
        assert configs["max.message.bytes"] == public[name].max_message_bytes


def test_an_installation_has_its_own_addresses() -> None:
    """Namespace and partition count of an installation show in addresses and bindings."""
    document = asyncapi.document(namespace="blue.", partitions=4)
    OFFICIAL.validate(document)
    kafka = document["channels"]["memory.changes.v1"]["bindings"]["kafka"]
    assert (document["channels"]["memory.changes.v1"]["address"], kafka["topic"]) == ("blue.memory.changes.v1",) * 2
    assert kafka["partitions"] == 4


def test_every_message_of_a_channel_is_received_or_sent() -> None:
    """Operations leave out no message: what others may publish is received, all else is sent."""
    for name, channel in DOCUMENT["channels"].items():
        operations = [op for op in DOCUMENT["operations"].values() if op["channel"]["$ref"] == f"#/channels/{name}"]
        covered = [reference["$ref"].rpartition("/")[2] for op in operations for reference in op["messages"]]
        assert sorted(covered) == sorted(channel["messages"])
    received = DOCUMENT["operations"]["receiveConversationEvents"]["messages"]
    assert [r["$ref"].rpartition("/")[2] for r in received] == ["turn", "conversation_ended", "forget", "correction"]


@pytest.mark.parametrize("name", MESSAGES)
def test_examples_are_valid(name: str) -> None:
    """Every message shows examples, and they are valid by the schemas beside them."""
    message = MESSAGES[name]
    schema = {**message["payload"], "components": DOCUMENT["components"]}
    assert message["examples"]
    for example in message["examples"]:
        jsonschema.Draft7Validator(schema).validate(example["payload"])


def test_headers_are_those_that_our_code_writes() -> None:
    """The headers of a change as our code writes them are valid; a publisher's may be missing."""
    written = headers.cloudevent(event_id="e", event_type=headers.CHANGE_TYPE, source="/memstream")
    as_text = {name: value.decode() for name, value in written}
    assert jsonschema.Draft7Validator(MESSAGES["change"]["headers"]).is_valid(as_text)
    assert not jsonschema.Draft7Validator(MESSAGES["watermark"]["headers"]).is_valid(as_text)
    assert not jsonschema.Draft7Validator(MESSAGES["change"]["headers"]).is_valid({})
    assert jsonschema.Draft7Validator(MESSAGES["turn"]["headers"]).is_valid({})


def test_keys_are_described_where_there_are_any() -> None:
    """A publisher learns what to key by; watermarks speak of a partition and have no user."""
    assert MESSAGES["turn"]["bindings"]["kafka"]["key"]["description"] == "tenant/user_id"
    assert "bindings" not in MESSAGES["watermark"]
