"""`memstream dlq` against a real broker: what fails, what is shown, and that redriving neither loses nor doubles."""

import json
import random
import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource
from integration.cli.conftest import Command, PublishRaw, StartWorker

from schemas import headers
from schemas.ids import DEFAULT_TENANT, UserKey
from streams.clients.dead_letters import LetterPlace, Redrive, SentBack, read_book, read_letters
from streams.clients.log_scan import LogScan
from streams.clients.status import Status
from streams.clock import SystemClock
from streams.errors import FencedError
from streams.settings import Settings
from topology import keys, topics

pytestmark = pytest.mark.stack

MARIA = UserKey(DEFAULT_TENANT, "maria")
HERE = keys.partition_of(MARIA, 4)
LARGE = (
    b'{"type": "turn", "user_id": "maria", "conversation_id": "c", "event_id": "big", "role": "user", "content": "'
    + b"The harbour is quiet today. " * 20
    + b'"}'
)


def scan(settings: Settings) -> LogScan:
    """A reader of this test's topics."""
    return LogScan(settings.kafka, client_id="test")


def listed(memstream: Command, *options: str) -> list[str]:
    """Names of dead letters."""
    done = memstream("dlq", "list", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [letter["name"] for letter in json.loads(done.stdout)["dead_letters"]]


def copies(settings: Settings) -> list[tuple[bytes | None, bytes | None]]:
    """Records of conversation.events that were sent back: value and lane."""
    found = []
    for message in scan(settings).read_all(topics.CONVERSATION_EVENTS):
        raw_headers = message.headers()
        if headers.origin_of(raw_headers) is not None:  # type: ignore[arg-type]
            found.append((message.value(), headers.get(raw_headers, headers.LANE)))  # type: ignore[arg-type]
    return found


def wait_for_letters(settings: Settings, count: int) -> None:
    """Until so many letters are open."""
    ends_at_s = time.monotonic() + 60
    while len(read_book(scan(settings)).open) != count:
        assert time.monotonic() < ends_at_s
        time.sleep(0.1)


def test_a_letter_is_shown_whole_and_handled_after_a_redrive(
    memstream: Command,
    start_worker: StartWorker,
    publish_raw: PublishRaw,
    settled: Callable[[], Status],
    settings: Settings,
) -> None:
    """An event that was too large goes back once the limit is raised, to each lane once, and becomes one memory."""
    strict = start_worker(settings.replace("worker", max_event_bytes=200))
    publish_raw(LARGE, key=str(MARIA).encode(), partition=HERE)
    wait_for_letters(settings, 2)
    strict.stop()
    names = listed(memstream)
    assert sorted(names) == [f"extract/conversation.events/{HERE}/0", f"record/conversation.events/{HERE}/0"]
    assert listed(memstream, "--stage", "embed") == []
    assert listed(memstream, "--reason", "oversize", "--stage", "record") == [f"record/conversation.events/{HERE}/0"]
    assert listed(memstream, "--reason", "poison") == []
    assert memstream("dlq", "show", names[0], "--raw").stdout == LARGE
    shown = memstream("dlq", "show", names[0]).stdout.decode()
    assert "oversize" in shown
    assert "The harbour is quiet today." in shown

    start_worker()
    done = memstream("dlq", "redrive", "--all", "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"redriven": 2, "left": []}), done.stderr
    assert sorted(copies(settings)) == [(LARGE, b"extract"), (LARGE, b"record")]
    status = settled()
    assert status.open_dead_letters == 0
    assert listed(memstream) == []
    assert sorted(listed(memstream, "--all")) == sorted(names)
    changes = [json.loads(line) for line in memstream("changes", "--json").stdout.splitlines()]
    assert [change["source_event_ids"] for change in changes if change["kind"] == "turn"] == [["big"]]


def test_redriving_asks_first_and_refuses_what_is_not_open(
    memstream: Command, start_worker: StartWorker, publish_raw: PublishRaw, settings: Settings
) -> None:
    """Without a yes nothing goes back; a letter that went back, or never was, is refused with exit code 2."""
    worker = start_worker()
    publish_raw(b"\xff\xfe", key=b"x", partition=1)
    wait_for_letters(settings, 2)
    worker.stop()
    [name, other] = sorted(listed(memstream))
    assert memstream("dlq", "redrive", name, given=b"n\n").returncode == 1
    unasked = memstream("dlq", "redrive", name, given=b"")
    assert (unasked.returncode, b"--yes" in unasked.stderr) == (2, True), unasked.stderr
    assert copies(settings) == []
    assert memstream("dlq", "redrive", name, given=b"y\n").returncode == 0
    assert memstream("dlq", "redrive", name, "--yes").returncode == 2
    assert memstream("dlq", "redrive", "record/conversation.events/3/99", "--yes").returncode == 2
    assert listed(memstream) == [other]
    assert copies(settings) == [(b"\xff\xfe", b"extract")]


def test_letters_that_no_longer_fit_stay_and_are_named_and_all_others_go_back(
    memstream: Command, start_worker: StartWorker, settings: Settings, seed: int
) -> None:
    """They fitted when they were published; with a copy's headers they do not: among others, and next to another."""
    large, small = random.Random(seed).randbytes(topics.CONVERSATION_EVENTS.max_message_bytes - 90), b"no event"
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "message.max.bytes": 4 * 1024 * 1024})
    name = topics.CONVERSATION_EVENTS.in_namespace(settings.kafka.namespace)
    for value in (small, small, large, small, large, large, small):
        producer.produce(name, value, b"x", partition=1)
        assert producer.flush(30) == 0
    producer.produce(name, small, b"x", partition=2)
    assert producer.flush(30) == 0
    worker = start_worker()
    wait_for_letters(settings, 16)
    worker.stop()

    done = memstream("dlq", "redrive", "--all", "--yes", "--json")
    assert (done.returncode, bool(done.stdout)) == (1, True), done.stderr
    report = json.loads(done.stdout)
    stay = [f"{stage}/conversation.events/1/{offset}" for stage in ("extract", "record") for offset in (2, 4, 5)]
    assert (report["redriven"], sorted(letter["name"] for letter in report["left"])) == (10, stay)
    assert f"raise max.message.bytes of {name}" in report["left"][0]["reason"]
    assert done.stderr.count(b"too large for its topic") == 6
    assert sorted(listed(memstream)) == stay
    assert [value for value, _ in copies(settings)] == [small] * 10

    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    entry = ConfigEntry("max.message.bytes", str(3 * 1024 * 1024), incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(entry)
    reader = scan(settings)
    reader.admin.incremental_alter_configs([resource])[resource].result(30)
    assert memstream("dlq", "redrive", "--all", "--yes").returncode == 0
    assert listed(memstream) == []


def test_a_redrive_that_dies_before_its_commit_leaves_nothing(
    start_worker: StartWorker, publish_raw: PublishRaw, settings: Settings
) -> None:
    """What was written and not committed is never seen; the next redrive sends the letter back exactly once."""
    worker = start_worker()
    publish_raw(b"\xff", key=b"x", partition=1)
    wait_for_letters(settings, 2)
    worker.stop()
    place = LetterPlace("record", topics.CONVERSATION_EVENTS.name, 1, 0)
    dying = Redrive(settings, SystemClock()).__enter__()
    dying._producer.begin_transaction()
    dying._write(list(read_letters(scan(settings), {place})))
    with Redrive(settings, SystemClock()) as second:
        assert second.send_back({place}, sent=lambda _: None) == SentBack(redriven=1)
        assert second.send_back({place}, sent=lambda _: None) == SentBack(redriven=0)
    assert copies(settings) == [(b"\xff", b"record")]
    with pytest.raises(KafkaException):
        dying._producer.commit_transaction(10)
    assert copies(settings) == [(b"\xff", b"record")]


def test_of_two_redrives_the_later_one_wins(
    start_worker: StartWorker, publish_raw: PublishRaw, settings: Settings
) -> None:
    """A redrive that another one has overtaken writes nothing any more, so no letter goes back twice."""
    worker = start_worker()
    publish_raw(b"\xff", key=b"x", partition=1)
    wait_for_letters(settings, 2)
    worker.stop()
    place = LetterPlace("record", topics.CONVERSATION_EVENTS.name, 1, 0)
    with Redrive(settings, SystemClock()) as first, Redrive(settings, SystemClock()) as second:
        with pytest.raises(FencedError):
            first.send_back({place}, sent=lambda _: None)
        assert second.send_back({place}, sent=lambda _: None) == SentBack(redriven=1)
    assert copies(settings) == [(b"\xff", b"record")]
