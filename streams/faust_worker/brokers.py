"""Whether any broker answers, asked by a client of its own.

The stages' clients cannot tell: one that is idle hears nothing for long, one that waits inside a call reports nothing,
and librdkafka says only when the last connection goes, not that none has come back. So a thread asks for the metadata
of a topic, which any broker can answer, and takes an answer for what it is. Not through the admin client: librdkafka
2.16.0 ended a whole worker when a broker that had been halted answered just as the time for it was up
(`rd_kafka_admin_response_parse: Assertion 'rko_result' failed`, seen once in `tests/chaos/test_parts_away.py`).
"""

import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import structlog
from confluent_kafka import Consumer, KafkaException

from streams.clock import Clock
from streams.engine import kafka
from streams.engine.liveness import Standstill
from streams.settings import KafkaSettings
from topology.provision import KafkaAwayError
from topology.topics import CONVERSATION_EVENTS

log = structlog.get_logger("memstream.worker")

_LOOKED_EVERY_S = 1.0
"""Also how often is asked, while answers come at once."""
_ANSWER_WITHIN_S = 2.0
_MAX_GAP = timedelta(seconds=5)
"""Looks that lie further apart: the process was halted, which is no silence of the brokers."""


class BrokerWatch:
    """Asks again and again, and says once when no broker has answered for longer than the limit.

    Args:
        settings: where the brokers are, and the limit.
        clock: what time it is.
        gone: told by the thread, with an error that says what to do.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        clock: Clock,
        gone: Callable[[KafkaAwayError], object],
    ) -> None:
        self._settings = settings
        self._limit_s = settings.away_limit.total_seconds()
        self._clock = clock
        self._gone = gone
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker-watch", daemon=True)
        self.silent_s = 0.0
        """For how long no broker has answered, as of the last look."""

    def start(self) -> None:
        """Ask from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no longer; a question that is open, for two seconds at most, is left to itself."""
        self._stopping.set()

    def _run(self) -> None:
        standstill: Standstill[str] = Standstill(max_gap=_MAX_GAP)
        answers = 0
        # It never joins a group.
        with closing(Consumer(kafka.log_reader(self._settings, client_id="memstream.broker-watch"))) as client:
            while not self._stopping.wait(_LOOKED_EVERY_S):
                answers += self._is_answered(client)
                self.silent_s = standstill.look({"answers": answers}, now_s=self._clock.monotonic_s())["answers"]
                if self._limit_s and self.silent_s > self._limit_s:
                    self._gone(away_error(self._settings, self.silent_s))
                    return

    def _is_answered(self, client: Consumer) -> bool:
        """Whether a broker says anything, be it a refusal."""
        try:
            client.list_topics(CONVERSATION_EVENTS.in_namespace(self._settings.namespace), timeout=_ANSWER_WITHIN_S)
        except KafkaException as error:
            # Codes below zero are the client's own (no connection, no answer in time), all others come from a broker.
            return bool(error.args[0].code() > 0)
        return True


def away_error(settings: KafkaSettings, silent_s: float) -> KafkaAwayError:
    """What is said to whoever runs the worker."""
    return KafkaAwayError(
        f"no Kafka broker of {settings.bootstrap_servers} has answered for {silent_s:.0f} s"
        f" (limit {settings.away_limit.total_seconds():g} s)",
        "start it or mend the way to it, then start the worker again: what it had not committed is done again."
        " MEMSTREAM_KAFKA_AWAY_LIMIT sets the limit, in seconds",
    )
