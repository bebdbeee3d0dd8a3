"""What differs between a cluster and the topic table is found, explained, and met with the right remedy."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.provision import (
    Difference,
    DifferenceKind,
    KafkaAwayError,
    ProvisionError,
    Remedy,
    TopicState,
    check,
    plan,
    wanted_topics,
)
from topology.topics import TOPICS

WANTED = wanted_topics(namespace="blue.", partitions=4, replication=1)
ONE = "blue.memory.changes.v1"


def only(actual: dict[str, TopicState]) -> Difference:
    """The one difference between a cluster and what is wanted."""
    [difference] = plan(actual, WANTED)
    return difference


def test_wanted_topics_are_those_of_the_table() -> None:
    """Every topic is wanted under its name in the namespace, with its configs."""
    assert list(WANTED) == [spec.in_namespace("blue.") for spec in TOPICS]
    assert [state.configs for state in WANTED.values()] == [spec.configs() for spec in TOPICS]


def test_a_cluster_as_wanted_has_no_differences() -> None:
    """Topics and configs that nobody asked for are not our business."""
    actual = {name: replace(state, configs={**state.configs, "segment.ms": "7"}) for name, state in WANTED.items()}
    assert plan({**actual, "somebody.elses": replace(WANTED[ONE], partitions=99)}, WANTED) == []


def test_an_empty_cluster_misses_everything() -> None:
    """Every topic is reported once, to be created."""
    differences = plan({}, WANTED)
    assert [d.topic for d in differences] == list(WANTED)
    assert {d.remedy for d in differences} == {Remedy.CREATE}


def test_another_partition_count_is_refused_and_explained() -> None:
    """The explanation says why the count cannot change and what to do instead."""
    difference = only({**WANTED, ONE: replace(WANTED[ONE], partitions=12)})
    assert (difference.kind, difference.actual, difference.wanted) == (DifferenceKind.PARTITIONS, "12", "4")
    assert difference.remedy is Remedy.REFUSE
    for word in ("order", "replay", "kafka.partitions=12", "another namespace"):
        assert word in difference.explanation


def test_another_replication_factor_is_a_warning() -> None:
    """Everything works with it; it is reported and left alone."""
    difference = only({**WANTED, ONE: replace(WANTED[ONE], replication=3)})
    assert (difference.kind, difference.remedy) == (DifferenceKind.REPLICATION, Remedy.WARN)


@pytest.mark.parametrize("setting", list(WANTED[ONE].configs))
def test_another_config_is_set(setting: str) -> None:
    """A differing config is named with both values and what it means."""
    configs = {**WANTED[ONE].configs, setting: "7"}
    difference = only({**WANTED, ONE: replace(WANTED[ONE], configs=configs)})
    assert (difference.kind, difference.setting, difference.remedy) == (DifferenceKind.CONFIG, setting, Remedy.ALTER)
    assert (difference.actual, difference.wanted) == ("7", WANTED[ONE].configs[setting])
    assert f"{setting} is 7, not {difference.wanted}" in difference.explanation


def test_a_config_that_the_broker_does_not_tell_differs() -> None:
    """What is not there cannot be what we want."""
    difference = only({**WANTED, ONE: replace(WANTED[ONE], configs={**WANTED[ONE].configs, "retention.ms": "1"})})
    silent = {name: value for name, value in WANTED[ONE].configs.items() if name != "retention.ms"}
    unknown = only({**WANTED, ONE: replace(WANTED[ONE], configs=silent)})
    assert replace(unknown, actual="1", explanation=difference.explanation) == difference


def test_the_order_of_a_list_makes_no_difference() -> None:
    """`compact,delete` and `delete, compact` are one policy."""
    one = {ONE: TopicState(partitions=1, replication=1, configs={"cleanup.policy": "compact,delete"})}
    other = {ONE: TopicState(partitions=1, replication=1, configs={"cleanup.policy": "delete, compact"})}
    assert plan(one, other) == []


STATES = st.builds(
    TopicState,
    partitions=st.integers(1, 3),
    replication=st.integers(1, 2),
    configs=st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3),
)
CLUSTERS = st.dictionaries(st.sampled_from("abc"), STATES)


def mended(actual: dict[str, TopicState], differences: list[Difference], wanted: dict[str, TopicState]) -> None:
    """Do to a cluster what every difference asks for, refused and warned ones included."""
    for d in differences:
        match d.kind:
            case DifferenceKind.MISSING:
                actual[d.topic] = wanted[d.topic]
            case DifferenceKind.CONFIG:
                configs = {**actual[d.topic].configs, d.setting: d.wanted}
                actual[d.topic] = replace(actual[d.topic], configs=configs)
            case DifferenceKind.PARTITIONS:
                actual[d.topic] = replace(actual[d.topic], partitions=int(d.wanted))
            case DifferenceKind.REPLICATION:
                actual[d.topic] = replace(actual[d.topic], replication=int(d.wanted))


@given(CLUSTERS, CLUSTERS)
def test_the_plan_is_complete(actual: dict[str, TopicState], wanted: dict[str, TopicState]) -> None:
    """A cluster in which every reported difference is mended has none, and nothing is reported twice."""
    differences = plan(actual, wanted)
    assert len({(d.topic, d.kind, d.setting) for d in differences}) == len(differences)
    mended(actual, differences, wanted)
    assert plan(actual, wanted) == []


@pytest.mark.parametrize("namespace", ["a/b", "a b", "ü", "a\n"])
def test_namespaces_that_kafka_does_not_take_are_refused(namespace: str) -> None:
    """Before anything is asked of a cluster, and with the letters that would do."""
    with pytest.raises(ProvisionError, match="cannot stand in a topic name") as caught:
        wanted_topics(namespace=namespace, partitions=4, replication=1)
    assert "letters" in caught.value.next_step


def test_a_namespace_leaves_room_for_the_name() -> None:
    """Kafka's names have at most 249 characters."""
    longest = max(len(spec.name) for spec in TOPICS)
    wanted_topics(namespace="a" * (249 - longest), partitions=4, replication=1)
    with pytest.raises(ProvisionError, match="249 characters"):
        wanted_topics(namespace="a" * (250 - longest), partitions=4, replication=1)


@pytest.mark.parametrize(("partitions", "replication"), [(0, 1), (-1, 1), (4, 0)])
def test_counts_are_whole_numbers_from_one(partitions: int, replication: int) -> None:
    """A topic without partitions or copies cannot be."""
    with pytest.raises(ProvisionError, match="cannot be"):
        wanted_topics(namespace="", partitions=partitions, replication=replication)


def test_a_broker_that_is_away_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It names the address and the next step, and librdkafka's own complaints do not reach the terminal."""
    monkeypatch.setattr("topology.cluster.ANSWER_TIMEOUT_S", 1.0)
    with pytest.raises(KafkaAwayError, match=r"Kafka at 127\.0\.0\.1:1 does not answer") as caught:
        check("127.0.0.1:1", namespace="", partitions=4, replication=1)
    assert "memstream stack up" in caught.value.next_step
    assert capfd.readouterr() == ("", "")
