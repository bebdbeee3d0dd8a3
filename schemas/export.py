"""JSON Schemas (2020-12) of everything that crosses a process border, made from the types themselves.

Public schemas promise what publishers may send and what consumers get. Internal ones (in a folder of their own) are for
reading: those records travel as MessagePack, and their schemas say how they look as JSON, with bytes as base64.

What msgspec knows of a type is its shape. Added here: what each field means (from the docstrings), which strings are
times, which version is current, and the rules between fields that the types check in code.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import msgspec

from schemas.candidate import Candidate, Embedded, Watermark
from schemas.conversation import AnyConversationEvent, Forget
from schemas.evolution import CURRENT_VERSIONS
from schemas.indexed import Indexed
from schemas.memory import Head, Memory, MemoryChange, Op
from schemas.outcome import DlqRecord, LedgerEntry
from schemas.window import Window

DIALECT = "https://json-schema.org/draft/2020-12/schema"

PUBLIC: Mapping[str, Any] = {
    "conversation-event": AnyConversationEvent,
    "memory-change": MemoryChange,
    "watermark": Watermark,
    "memory": Memory,
}
"""What anyone may rely on. Conversation events are a union, told apart by `type`."""

INTERNAL: Mapping[str, Any] = {
    "candidate": Candidate,
    "embedded": Embedded,
    "indexed": Indexed,
    "head": Head,
    "window": Window,
    "ledger-entry": LedgerEntry,
    "dlq-record": DlqRecord,
}
"""What our stages say to each other; may change with a release."""

RULES: Mapping[type[msgspec.Struct], dict[str, Any]] = {
    Forget: {
        "allOf": [
            {
                "if": {"properties": {"scope": {"const": scope}}},
                "then": {"required": [field], "properties": {field: {"type": "string"}}},
            }
            for scope, field in (("conversation", "conversation_id"), ("memory", "memory_id"))
        ]
    },
    MemoryChange: {
        "if": {"properties": {"op": {"const": Op.ERASED.value}}},
        "then": {"not": {"required": ["text"]}},
        "else": {"required": ["text"]},
    },
}
"""Rules between the fields of one type, which its shape does not show."""


def documents() -> dict[str, dict[str, Any]]:
    """Every schema by its file name, such as `internal/head.schema.json`."""
    named = {**PUBLIC, **{f"internal/{name}": record_type for name, record_type in INTERNAL.items()}}
    return {f"{name}.schema.json": _document(name, record_type) for name, record_type in named.items()}


def components(record_types: Iterable[Any], ref_template: str) -> dict[str, dict[str, Any]]:
    """The schemas of types and of all that they hold, by name, for a document that keeps them in one place.

    Args:
        record_types: structs, or unions of them.
        ref_template: how they point at each other, such as `#/components/schemas/{name}`.
    """
    types = list(record_types)
    _, found = msgspec.json.schema_components(types, ref_template=ref_template)
    _explain(found, types)
    return found


def write(folder: Path) -> list[Path]:
    """Write every schema below a folder, over what stood there before.

    Returns:
        The files, in the order of `documents`.
    """
    return [write_document(folder / name, document) for name, document in documents().items()]


def write_document(path: Path, document: Mapping[str, Any]) -> Path:
    """Write one JSON document, indented, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return path


def _document(name: str, record_type: Any) -> dict[str, Any]:
    schema = msgspec.json.schema(record_type)
    _explain(schema["$defs"], [record_type])
    return {"$schema": DIALECT, "$id": f"urn:memstream:schema:{name.replace('/', ':')}", **schema}


def _explain(definitions: dict[str, dict[str, Any]], record_types: Iterable[Any]) -> None:
    """Add to the definitions of structs what their shape does not say; enums need nothing."""
    for struct in dict.fromkeys(found for record_type in record_types for found in _structs_in(record_type)):
        definition = definitions[struct.__name__]
        summary, meanings = _documentation(struct)
        definition["description"] = summary
        for field, schema in _field_schemas(struct, definition):
            if field.name in meanings:
                schema["description"] = meanings[field.name]
            if datetime in (field.type, *get_args(field.type)):
                _mark_as_time(schema)
        tag = struct.__struct_config__.tag
        if tag is not None:
            version = CURRENT_VERSIONS[str(tag)]
            definition["properties"]["v"] = {"const": version, "description": "Version of this schema."}
            if version > 1 and "v" not in definition["required"]:
                definition["required"].append("v")  # A body without version is version 1.
        definition.update(RULES.get(struct, {}))


def _structs_in(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
        for field in msgspec.structs.fields(annotation):
            yield from _structs_in(field.type)
    else:
        for part in get_args(annotation):
            yield from _structs_in(part)


def _field_schemas(
    struct: type[msgspec.Struct], definition: dict[str, Any]
) -> Iterator[tuple[msgspec.structs.FieldInfo, dict[str, Any]]]:
    """Each field with its schema; structs that travel as arrays have places instead of names."""
    fields = msgspec.structs.fields(struct)
    if "prefixItems" in definition:
        for field, place in zip(fields, definition["prefixItems"], strict=True):
            place["title"] = field.name
            yield field, place
    else:
        yield from ((field, definition["properties"][field.encode_name]) for field in fields)


def _mark_as_time(schema: dict[str, Any]) -> None:
    for part in schema.get("anyOf", [schema]):
        if part.get("type") == "string":
            part["format"] = "date-time"


def _documentation(struct: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """What the docstrings say of a type and, with those of its bases, of its fields."""
    meanings: dict[str, str] = {}
    summary = ""
    for base in reversed(struct.__mro__):
        text = inspect.cleandoc(vars(base).get("__doc__") or "")
        summary, _, attributes = text.partition("\nAttributes:\n")
        for entry in re.split(r"\n(?=    \w)", "\n" + attributes):
            name, colon, meaning = entry.strip().partition(": ")
            if colon:
                meanings[name] = re.sub(r"\s+", " ", meaning)
    return summary.strip(), meanings
