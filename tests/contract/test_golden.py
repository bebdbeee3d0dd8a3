"""Stored records of every type and version, and of a few that are out of line, are read as they were when stored."""

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from schemas import golden
from schemas.codec import DecodeError
from schemas.evolution import CURRENT_VERSIONS, upcast
from schemas.golden.samples import SAMPLES

STORED = dict(golden.stored())
ACCEPTED = {name: sample for name, sample in STORED.items() if sample.refused is msgspec.UNSET}
REFUSED = {name: sample for name, sample in STORED.items() if sample.refused is not msgspec.UNSET}


def assert_holds(actual: Any, stored: Any, place: str) -> None:
    """Everything stored is still there, unchanged; fields with defaults may have come since."""
    if isinstance(stored, dict):
        assert isinstance(actual, dict), place
        for name, value in stored.items():
            assert name in actual, f"{place}.{name} is gone"
            assert_holds(actual[name], value, f"{place}.{name}")
    elif isinstance(stored, list):
        # Structs that travel as arrays grow at their end.
        assert isinstance(actual, list), place
        assert len(actual) >= len(stored), place
        for index, value in enumerate(stored):
            assert_holds(actual[index], value, f"{place}[{index}]")
    else:
        assert actual == stored, place


def tags_of(codec_name: str) -> set[str]:
    """The types that stand on one topic."""
    record_type = golden.CODECS[codec_name].record_type
    return {struct.__struct_config__.tag for struct in get_args(record_type) or (record_type,)}


@pytest.mark.parametrize("name", ACCEPTED)
def test_stored_record_is_read_as_it_was_when_stored(name: str) -> None:
    """Today's code reads every stored record, and finds in it what was found then, brought to today's version."""
    sample = ACCEPTED[name]
    assert isinstance(sample.record, dict)
    today = msgspec.json.decode(msgspec.json.encode(sample.read()))
    assert_holds(today, upcast(sample.record), name)


@pytest.mark.parametrize("name", REFUSED)
def test_stored_record_is_refused_with_its_reason(name: str) -> None:
    """What cannot be read is refused under the reason that the ledger will show."""
    with pytest.raises(DecodeError) as caught:
        REFUSED[name].read()
    assert caught.value.reason is REFUSED[name].refused


def test_every_type_on_a_topic_is_in_the_version_table() -> None:
    """The topics and the version table name the same types, so that no type escapes the tests below."""
    assert set().union(*map(tags_of, golden.CODECS)) == set(CURRENT_VERSIONS)


@pytest.mark.parametrize(("codec_name", "tag"), [(name, tag) for name in golden.CODECS for tag in tags_of(name)])
def test_every_type_has_a_sample_of_every_version(codec_name: str, tag: str) -> None:
    """For every topic and type, records of all versions up to the current one are stored, as themselves."""
    for version in range(1, CURRENT_VERSIONS[tag] + 1):
        name = f"{codec_name}/{tag}.v{version}"
        assert name in ACCEPTED, f"{name} is missing: add it to schemas/golden/samples.py, run python -m schemas.golden"
        sample = ACCEPTED[name]
        assert isinstance(sample.record, dict)
        assert (sample.codec, sample.record["type"], sample.record["v"]) == (codec_name, tag, version)


def test_every_sample_is_stored() -> None:
    """Samples that were written down but never stored protect nobody's log."""
    assert set(SAMPLES) <= set(STORED)


def test_missing_samples_are_stored_and_stored_ones_left_alone(tmp_path: Path) -> None:
    """Storing writes what is missing, never over what is there, and what it wrote reads back the same."""
    kept = golden.path_of("conversation_events/turn.v1", tmp_path)
    kept.parent.mkdir()
    kept.write_text("somebody's log")

    written = golden.store_missing(SAMPLES, tmp_path)

    assert sorted(written) == sorted(SAMPLES.keys() - {"conversation_events/turn.v1"})
    assert kept.read_text() == "somebody's log"
    assert golden.store_missing(SAMPLES, tmp_path) == []
    kept.unlink()
    golden.store_missing(SAMPLES, tmp_path)
    assert dict(golden.stored(tmp_path)) == {name: SAMPLES[name] for name in sorted(SAMPLES)}
