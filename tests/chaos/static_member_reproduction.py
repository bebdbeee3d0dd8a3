"""Kills a static member of a group while it gives partitions back, starts it again at once: nobody gets what it gave.

    python -m tests.chaos.static_member_reproduction
    python -m tests.chaos.static_member_reproduction --again

Bare clients, none of our engine: librdkafka 2.16, classic groups, cooperative-sticky, Kafka 4.2.2. Member a owns all
four partitions; b joins; a is told to give two of them back and dies in its revoke callback, before it could join
again. When it is back before its session is over, the coordinator hands it what the last generation left it, without a
rebalance; b waits for the other two, and nobody ever gets them until the group changes for another reason.

`--again` shows a way out: once it has partitions, the restarted member subscribes to a pattern more, which matches
nothing; its subscription has changed, so the group is rebalanced. Subscribing anew to the same topics does not do it.
Exit code 1 when partitions have no owner at the end.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not exported by name

from infra.native.stack import Stack

TOPIC = "t"
PARTITIONS = 4
SESSION_MS = 10_000
WATCHED_S = 12.0
"""Longer than a session: by then whoever is dead has been noticed."""


def member(bootstrap_servers: str, name: str, *, dies: bool, again: bool, lasts_s: float) -> None:
    """Be one member of the group, and print what it has in the end."""
    owned: set[int] = set()
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "g",
            "group.instance.id": name,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_MS,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )

    def on_assign(client: Consumer, places: list[TopicPartition]) -> None:
        owned.update(place.partition for place in places)
        client.incremental_assign(places)

    def on_revoke(client: Consumer, places: list[TopicPartition]) -> None:
        if dies and places:
            os.kill(os.getpid(), signal.SIGKILL)
        owned.difference_update(place.partition for place in places)
        client.incremental_unassign(places)

    consumer.subscribe([TOPIC], on_assign=on_assign, on_revoke=on_revoke)
    since_s = time.monotonic()
    while time.monotonic() - since_s < lasts_s:
        consumer.poll(0.1)
        if again and owned:
            again = False
            consumer.subscribe([TOPIC, "^matches-nothing$"], on_assign=on_assign, on_revoke=on_revoke)
    sys.stdout.write(f"{name} {sorted(owned)}\n")
    sys.stdout.flush()
    os._exit(0)  # without giving back: the other one is to say what it has now


def main() -> int:
    """Run it once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--again", action="store_true", help="the restarted member changes its subscription")
    parser.add_argument("--member", nargs=4, metavar=("SERVERS", "NAME", "DIES", "LASTS_S"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.member:
        servers, name, dies, lasts_s = options.member
        member(servers, name, dies=dies == "dies", again=options.again, lasts_s=float(lasts_s))
    with tempfile.TemporaryDirectory() as home:
        stack = Stack("light", home=Path(home))
        try:
            state = stack.up()
            assert state.kafka is not None
            servers = state.kafka.bootstrap_servers
            admin = AdminClient({"bootstrap.servers": servers})
            admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(20)

            def start(name: str, fate: str, lasts_s: float, *more: str) -> "subprocess.Popen[str]":
                command = [sys.executable, "-m", __spec__.name, *more, "--member", servers, name, fate, str(lasts_s)]
                return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

            dying = start("a", "dies", 60)
            time.sleep(5)
            other = start("b", "lives", WATCHED_S + 8)
            dying.wait()
            restarted = start("a", "lives", WATCHED_S, *(["--again"] if options.again else []))
            owners = [process.communicate()[0].strip() for process in (restarted, other)]
        finally:
            stack.down(wipe=True)
    sys.stdout.write("\n".join(owners) + "\n")
    owned = {int(number) for line in owners for number in line.partition("[")[2].rstrip("]").split(",") if number}
    return 1 if len(owned) < PARTITIONS else 0


if __name__ == "__main__":
    sys.exit(main())
