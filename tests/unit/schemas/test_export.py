"""The exported JSON Schemas are valid, accept what our code accepts and refuse what it refuses."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from schemas import export
from schemas.golden import Sample, stored

DOCUMENTS = export.documents()
BODIES = {name: sample for name, sample in stored() if sample.body is not msgspec.UNSET}
SCHEMA_OF = {"conversation_events": "conversation-event", "memories": "memory"}
DECODER_ONLY = {"broken/time_before_all": "a schema cannot add an offset to a time"}
"""Refused by the decoder and not by the schema, and why."""
SCHEMA_ONLY = {"conversation_events/turn.v1.naive_time": "RFC 3339 times have an offset; we are kind"}
"""Refused by the schema and not by the decoder, and why."""
FORMATS = jsonschema.FormatChecker()


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    """RFC 3339: a date, a time and an offset. Only text has a format."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def validator_of(sample: Sample) -> jsonschema.Draft202012Validator:
    """The schema that others would check this record with."""
    name = SCHEMA_OF.get(sample.codec)
    if sample.codec == "changes":
        name = "watermark" if sample.body["type"] == "watermark" else "memory-change"
    return jsonschema.Draft202012Validator(DOCUMENTS[f"{name}.schema.json"], format_checker=FORMATS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_schema_is_a_json_schema(name: str) -> None:
    """Each document obeys the metaschema of the dialect that it names."""
    assert DOCUMENTS[name]["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(DOCUMENTS[name])


def test_schemas_have_ids_of_their_own() -> None:
    """Tools that load several of the documents can tell them apart."""
    assert len({document["$id"] for document in DOCUMENTS.values()}) == len(DOCUMENTS)


@pytest.mark.parametrize("name", [n for n, sample in BODIES.items() if sample.refused is msgspec.UNSET])
def test_records_that_are_read_are_valid(name: str) -> None:
    """What our code reads, the schema accepts, unknown fields included."""
    assert validator_of(BODIES[name]).is_valid(BODIES[name].body) == (name not in SCHEMA_ONLY)


@pytest.mark.parametrize("name", [n for n, sample in BODIES.items() if sample.refused is not msgspec.UNSET])
def test_records_that_are_refused_are_invalid(name: str) -> None:
    """What our code refuses, the schema refuses, but for what no schema can say."""
    assert validator_of(BODIES[name]).is_valid(BODIES[name].body) == (name in DECODER_ONLY)


def changed(name: str, **fields: Any) -> bool:
    """Whether a stored record with other fields is valid; a field set to ... is taken out."""
    body = {k: v for k, v in {**BODIES[name].body, **fields}.items() if v is not ...}
    return bool(validator_of(BODIES[name]).is_valid(body))


def test_a_change_has_its_text_unless_it_erases() -> None:
    """Consumers can rely on it: every change carries the memory's text, an erasure never does."""
    assert not changed("changes/change.v1", text=...)
    assert not changed("changes/change.v1.erased", text="Maria lives in Berlin")


def test_a_version_to_come_is_not_valid() -> None:
    """A schema describes one version; publishers of another need another schema."""
    assert not changed("conversation_events/turn.v1", v=2)
    assert not changed("changes/change.v1", v=2)


def test_internal_records_are_described_as_json() -> None:
    """Internal schemas accept our records in the form in which golden samples show them."""
    schema_of = {"candidate": "candidate", "embedded": "embedded", "indexed": "indexed", "head": "head"}
    schema_of |= {"window": "window", "ledger": "ledger-entry", "dead_letter": "dlq-record", "redriven": "dlq-record"}
    seen = set()
    for _, sample in stored():
        if isinstance(sample.record, dict) and (name := schema_of.get(sample.record["type"])):
            jsonschema.validate(sample.record, DOCUMENTS[f"internal/{name}.schema.json"])
            seen.add(name)
    assert {f"internal/{name}.schema.json" for name in seen} == {n for n in DOCUMENTS if n.startswith("internal/")}


def test_fields_say_what_they_mean_and_times_say_that_they_are_times() -> None:
    """A reader of the schema alone learns what a field is: words come from the docstrings, bases included."""
    turn = DOCUMENTS["conversation-event.schema.json"]["$defs"]["Turn"]
    assert turn["description"] == "One message of a conversation."
    assert turn["properties"]["content"]["description"] == "what was said."
    assert turn["properties"]["tenant"]["description"] == "the customer the user belongs to."
    assert turn["properties"]["occurred_at"]["anyOf"][0]["format"] == "date-time"
    source = DOCUMENTS["internal/candidate.schema.json"]["$defs"]["Source"]
    assert [place["title"] for place in source["prefixItems"]] == ["oldest_offset", "newest_offset", "recorded_at"]
    assert source["prefixItems"][2]["format"] == "date-time"


def test_write_replaces_what_an_earlier_export_left(tmp_path: Path) -> None:
    """Every document stands in its file after an export, whatever stood there before."""
    (tmp_path / "memory.schema.json").write_text("old")
    paths = export.write(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == list(DOCUMENTS)
    assert {path.relative_to(tmp_path).as_posix(): json.loads(path.read_text()) for path in paths} == DOCUMENTS
