"""Whether any broker answers, asked by a client of its own.

The stages' clients cannot tell: one that is idle hears nothing for long, one that waits inside a call reports nothing,
and librdkafka says only when the last connection goes, not that none has come back. So a thread asks the cluster who it
is, which any broker can answer, and takes an answer for what it is.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.clock import Clock
from streams.engine import kafka
from streams.engine.liveness import Standstill
from streams.settings import KafkaSettings
from topology.provision import KafkaAwayError

log = structlog.get_logger("memstream.worker")

_ASKED_EVERY_S = 2.0
_ANSWER_WITHIN_S = 4.0
_MAX_GAP = timedelta(seconds=10)
"""Between two looks lie one question and one pause; what is longer than both was no time in which one could answer."""


class BrokerWatch:
    """Asks again and again, and says once when no broker has answered for longer than the limit.

    Args:
        settings: where the brokers are, and the limit.
        clock: what time it is.
        gone: told by the thread, with an error that says what to do.
        make_admin: builds the client; tests pass their own.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        clock: Clock,
        gone: Callable[[KafkaAwayError], object],
        make_admin: Callable[[dict[str, Any]], Any] = AdminClient,
    ) -> None:
        self._settings = settings
        self._limit_s = settings.away_limit.total_seconds()
        self._clock = clock
        self._gone = gone
        self._make_admin = make_admin
        self._answers = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker-watch", daemon=True)
        self.silent_s = 0.0
        """For how long no broker has answered, as of the last look."""

    def start(self) -> None:
        """Ask from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no longer; a question that is open is left to itself."""
        self._stopping.set()

    def _run(self) -> None:
        admin = self._make_admin(kafka.connection(self._settings, client_id="memstream.broker-watch"))
        standstill: Standstill[str] = Standstill(max_gap=_MAX_GAP)
        while not self._stopping.is_set():
            self.silent_s = standstill.look({"brokers": self._answers}, now_s=self._clock.monotonic_s())["brokers"]
            if self._limit_s and self.silent_s > self._limit_s:
                self._gone(away_error(self._settings, self.silent_s))
                return
            if _answers(admin):
                self._answers += 1
            self._stopping.wait(min(_ASKED_EVERY_S, self._limit_s or _ASKED_EVERY_S))


def away_error(settings: KafkaSettings, silent_s: float) -> KafkaAwayError:
    """What is said to whoever runs the worker."""
    return KafkaAwayError(
        f"no Kafka broker of {settings.bootstrap_servers} has answered for {silent_s:.0f} s"
        f" (limit {settings.away_limit.total_seconds():g} s)",
        "start it or mend the way to it, then start the worker again: what it had not committed is done again."
        " MEMSTREAM_KAFKA_AWAY_LIMIT sets the limit, in seconds",
    )


def _answers(admin: Any) -> bool:
    """Whether any broker says anything, be it a refusal."""
    try:
        answer: Future[Any] = admin.describe_cluster(request_timeout=_ANSWER_WITHIN_S)
        answer.result(_ANSWER_WITHIN_S + 1)
    except TimeoutError:
        return False
    except KafkaException as error:
        # Codes below zero are the client's own (no connection, no answer in time), all others come from a broker.
        return bool(error.args[0].code() > 0)
    return True
