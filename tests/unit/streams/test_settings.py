"""Settings: every field has a name in the environment, mistakes are named, secrets stay secret."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import UsageError
from streams.settings import FOREIGN_NAMES, PREFIX, Settings, environment_name, from_environment

DURATIONS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=365))
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
GROUPS = [group.name for group in dataclasses.fields(Settings)]


def settings_with(durations: st.SearchStrategy[timedelta]) -> st.SearchStrategy[Settings]:
    """Settings with values of every kind that there is."""
    groups: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "kafka": {"namespace": WORDS, "partitions": st.integers(1, 10**6), "away_limit": durations},
        "redis": {"url": WORDS},
        "store": {"kind": st.sampled_from(["sqlite", "weaviate"]), "path": WORDS},
        "extract": {"gap": durations, "idle_after": durations, "window_turns": st.integers(1, 100)},
        "worker": {"log_level": st.sampled_from(["debug", "info", "warning", "error"])},
    }

    def build(values: dict[str, dict[str, Any]]) -> Settings:
        settings = Settings()
        for group, fields in values.items():
            settings = settings.replace(group, **fields)
        return settings

    return st.fixed_dictionaries({name: st.fixed_dictionaries(fields) for name, fields in groups.items()}).map(build)


@given(settings_with(st.integers(0, 86_400).map(lambda s: timedelta(seconds=s))))
def test_a_child_process_gets_the_same_settings(settings: Settings) -> None:
    """Settings written to an environment and read from it are the same, whatever the defaults are."""
    assert from_environment(settings.to_environment()) == settings


@given(settings_with(DURATIONS))
def test_a_child_process_gets_the_same_durations(settings: Settings) -> None:
    """Durations survive to the microsecond."""
    assert from_environment(settings.to_environment()) == settings


def test_every_field_has_a_name_of_its_own() -> None:
    """No two fields share a name in the environment, and none takes a name of the native stack."""
    names = [environment_name(g, f.name) for g in GROUPS for f in dataclasses.fields(getattr(Settings(), g))]
    assert len(set(names)) == len(names)
    assert all(name.startswith(PREFIX) for name in names)
    assert not FOREIGN_NAMES.keys() & set(names)
    assert set(Settings().to_environment()) == set(names)


def test_names_that_are_not_ours_are_ignored() -> None:
    """The rest of the environment, and the native stack's names, are somebody else's."""
    environment = {"HOME": "/home/maria", "KAFKA_PARTITIONS": "3", **dict.fromkeys(FOREIGN_NAMES, "x")}
    assert from_environment(environment) == Settings()


def test_a_mistyped_name_is_an_error() -> None:
    """A setting that would have no effect is refused, and the nearest names are listed."""
    with pytest.raises(UsageError, match="unknown setting MEMSTREAM_STORE_PTAH") as caught:
        from_environment({"MEMSTREAM_STORE_PTAH": "x"})
    assert "MEMSTREAM_STORE_PATH" in caught.value.next_step


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("MEMSTREAM_KAFKA_PARTITIONS", "twelve", "not a whole number"),
        ("MEMSTREAM_KAFKA_PARTITIONS", "", "not a whole number"),
        ("MEMSTREAM_STORE_KIND", "mongodb", "one of sqlite, weaviate"),
        ("MEMSTREAM_STORE_TIMEOUT", "soon", "not a number of seconds"),
        ("MEMSTREAM_STORE_TIMEOUT", "-1", "not negative"),
        ("MEMSTREAM_STORE_TIMEOUT", "nan", "not a number of seconds"),
        ("MEMSTREAM_STORE_TIMEOUT", "inf", "not a number of seconds, such as 0.5 or 30"),
        ("MEMSTREAM_BATCH_MAX_AGE", "nan", "not a number of seconds, such as 0.5 or 30"),
        ("MEMSTREAM_BATCH_MAX_AGE", "1e300", "not a number of seconds, such as 0.5 or 30"),
        ("MEMSTREAM_RETRY_MAX_DEAD_LETTER_RATIO", "nan", "a ratio above 0 and up to 1"),
        ("MEMSTREAM_KAFKA_PARTITIONS", "0", "at least 1"),
        ("MEMSTREAM_HEALTH_PORT", "65536", "at most 65535"),
        ("MEMSTREAM_STORE_TIMEOUT", "0", "from 0.001 to 3600 seconds"),
        ("MEMSTREAM_KAFKA_SESSION_TIMEOUT", "100000000", "from 1 to 1800 seconds"),
    ],
)
def test_a_value_of_the_wrong_form_is_an_error(name: str, text: str, complaint: str) -> None:
    """The message names the setting, its value and what is wrong with it."""
    with pytest.raises(UsageError, match=f"{name}='{text}': .*{complaint}"):
        from_environment({name: text})


def test_the_environment_stands_over_the_defaults() -> None:
    """What is set wins, what is not set stays as it was."""
    defaults = Settings().replace("kafka", partitions=4, namespace="blue.")
    settings = from_environment({"MEMSTREAM_KAFKA_PARTITIONS": "6", "MEMSTREAM_BATCH_MAX_AGE": "0.5"}, defaults)
    assert (settings.kafka.partitions, settings.kafka.namespace) == (6, "blue.")
    assert settings.batch.max_age == timedelta(milliseconds=500)
    assert defaults.kafka.partitions == 4


def test_secrets_are_masked_when_printed_and_only_then() -> None:
    """A printed setting shows that a secret is set, and not which; a child process gets it."""
    settings = Settings().replace("redis", url="redis://:hunter2@host:1/0").replace("store", api_key="hunter2")
    printed = settings.printable()
    assert "hunter2" not in str(printed)
    assert (printed["MEMSTREAM_REDIS_URL"], printed["MEMSTREAM_STORE_API_KEY"]) == ("***", "***")
    assert Settings().printable()["MEMSTREAM_STORE_API_KEY"] == ""
    assert settings.to_environment()["MEMSTREAM_STORE_API_KEY"] == "hunter2"


def test_settings_cannot_be_changed_in_place() -> None:
    """Whoever holds settings can rely on them."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().kafka.partitions = 1  # type: ignore[misc]
