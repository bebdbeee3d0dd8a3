"""The public topics as an AsyncAPI 3.0 document, made from the topic table, the graph and the exported schemas.

Internal topics are left out: nobody outside may rely on them. The document is written from memstream's side, as
AsyncAPI wants it: what publishers send is what memstream receives.
"""

from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from schemas import export, golden, headers
from schemas.conversation import Idle
from schemas.evolution import CURRENT_VERSIONS
from schemas.memory import MemoryChange
from topology.topics import CHANGES, CONVERSATION_EVENTS, DEFAULT_PARTITIONS, TOPICS, Audience, TopicSpec

ASYNCAPI_VERSION = "3.0.0"
INTERFACE_VERSION = "1.0.0"
"""Of the public topics, not of the program: it changes when they do."""
KAFKA_BINDING = "0.5.0"

_TEXT = {"type": "string"}
_CLOUDEVENT: dict[str, Any] = {
    "ce_specversion": {"const": "1.0"},
    "ce_id": {**_TEXT, "description": "The event_id or change_id of the body."},
    "ce_type": _TEXT,
    "ce_source": {**_TEXT, "description": "Who wrote the record."},
    "ce_time": {**_TEXT, "format": "date-time"},
    "content-type": {"const": "application/json"},
    headers.TRACEPARENT: {**_TEXT, "description": "W3C trace context."},
}
_OF_COPIES: dict[str, Any] = {
    headers.ORIGIN: {
        **_TEXT,
        "description": "On rerouted and redriven copies: partition, offset and timestamp (ms) of the first "
        "publication, as a JSON array.",
    },
    headers.LANE: {**_TEXT, "description": "On redriven copies that only one lane may read: record or extract."},
}
_OF_CHANGES: dict[str, Any] = {
    headers.VECTOR: {**_TEXT, "description": "The memory's vector as float16 bytes, little endian; for index."},
    headers.HEAD: {**_TEXT, "description": "The user's head after the change, as MessagePack; for index."},
}
_REQUIRED_OF_OURS = ["ce_specversion", "ce_id", "ce_type", "ce_source", "content-type"]
"""Others may leave all headers out."""


def document(*, namespace: str = "", partitions: int = DEFAULT_PARTITIONS) -> dict[str, Any]:
    """The AsyncAPI document of an installation.

    Args:
        namespace: put before every topic name.
        partitions: of every topic.
    """
    public = [spec for spec in TOPICS if spec.audience is Audience.PUBLIC]
    on_topic = {spec.name: _types_on(spec) for spec in public}
    all_types = [struct for spec in public for struct in on_topic[spec.name]]
    events = on_topic[CONVERSATION_EVENTS.name]
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "memstream",
            "version": INTERFACE_VERSION,
            "description": "Conversation events in, memory changes out. Records are keyed by `tenant/user_id` and "
            "partitioned by murmur2 (Kafka's Java default; librdkafka: `partitioner=murmur2`); per user, order holds. "
            "Consumers must read committed records only (`isolation.level=read_committed`).",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            spec.name: _channel(spec, on_topic[spec.name], namespace=namespace, partitions=partitions)
            for spec in public
        },
        "operations": {
            "receiveConversationEvents": _operation(
                "receive", CONVERSATION_EVENTS, [t for t in events if t is not Idle], "Publishers say what happened."
            ),
            "sendIdleMarkers": _operation(
                "send", CONVERSATION_EVENTS, [Idle], "Extract says that a conversation has paused."
            ),
            "sendMemoryChanges": _operation(
                "send", CHANGES, on_topic[CHANGES.name], "Every change of every memory is announced."
            ),
        },
        "components": {
            "messages": {_tag(struct): _message(spec, struct) for spec in public for struct in on_topic[spec.name]},
            "schemas": export.components(all_types, ref_template="#/components/schemas/{name}"),
        },
    }


def _types_on(spec: TopicSpec) -> tuple[type[msgspec.Struct], ...]:
    return get_args(spec.codec.record_type) or (spec.codec.record_type,)


def _tag(struct: type[msgspec.Struct]) -> str:
    return str(struct.__struct_config__.tag)


def _channel(
    spec: TopicSpec, types: Iterable[type[msgspec.Struct]], *, namespace: str, partitions: int
) -> dict[str, Any]:
    configs: dict[str, Any] = {name: _number_or_text(value) for name, value in spec.configs().items()}
    configs["cleanup.policy"] = configs["cleanup.policy"].split(",")
    return {
        "address": spec.in_namespace(namespace),
        "description": spec.purpose,
        "messages": {_tag(struct): {"$ref": f"#/components/messages/{_tag(struct)}"} for struct in types},
        "bindings": {
            "kafka": {
                "topic": spec.in_namespace(namespace),
                "partitions": partitions,
                "topicConfiguration": configs,
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _operation(action: str, spec: TopicSpec, types: Iterable[type[msgspec.Struct]], summary: str) -> dict[str, Any]:
    channel = f"#/channels/{spec.name}"
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{_tag(struct)}"} for struct in types],
    }


def _message(spec: TopicSpec, struct: type[msgspec.Struct]) -> dict[str, Any]:
    tag = _tag(struct)
    message: dict[str, Any] = {
        "name": tag,
        "title": struct.__name__,
        "contentType": "application/json",
        "headers": _headers(spec, struct),
        "payload": {"$ref": f"#/components/schemas/{struct.__name__}"},
        "bindings": {
            "kafka": {"key": {**_TEXT, "description": spec.key}, "bindingVersion": KAFKA_BINDING},
        },
    }
    # A watermark speaks of its partition and has no user.
    if spec is CHANGES and struct is not MemoryChange:
        del message["bindings"]
    examples = [
        {"name": name.partition("/")[2], "summary": sample.about, "payload": sample.body}
        for name, sample in golden.stored()
        if golden.CODECS[sample.codec] is spec.codec
        and not name.startswith(("future/", "broken/"))
        and (sample.body["type"], sample.body.get("v", 1)) == (tag, CURRENT_VERSIONS[tag])
    ]
    return {**message, "examples": examples}


def _headers(spec: TopicSpec, struct: type[msgspec.Struct]) -> dict[str, Any]:
    properties = {**_CLOUDEVENT, "ce_type": {"const": _cloudevent_type(spec, struct)}}
    if spec is CONVERSATION_EVENTS:
        return {"type": "object", "properties": {**properties, **_OF_COPIES}}
    if struct is MemoryChange:
        properties |= _OF_CHANGES
    return {"type": "object", "properties": properties, "required": _REQUIRED_OF_OURS}


def _cloudevent_type(spec: TopicSpec, struct: type[msgspec.Struct]) -> str:
    if spec is CONVERSATION_EVENTS:
        return headers.EVENT_TYPE_PREFIX + _tag(struct)
    return headers.CHANGE_TYPE if struct is MemoryChange else headers.WATERMARK_TYPE


def _number_or_text(value: str) -> int | str:
    try:
        return int(value)
    except ValueError:
        return value
