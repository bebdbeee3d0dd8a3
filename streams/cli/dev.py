"""`memstream dev`: a stack and a worker, until Ctrl-C."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import os
import sys
import time
from pathlib import Path

import click

from infra.native import state as stack_state
from infra.native.progress import on_stderr
from infra.native.stack import Stack
from infra.native.state import Mode, StackState
from streams.cli.child_worker import ChildWorker, only_one, terminated_like_interrupted, uninterrupted
from streams.cli.context import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    fail,
    json_option,
    print_json,
    reports_errors,
    stack_settings,
)
from streams.cli.publish import create_topics
from streams.cli.worker import parse_stages
from streams.errors import UsageError
from streams.settings import Settings, from_environment

_POLL_S = 0.2
_RESTART_AFTER_S = (1.0, 2.0, 4.0)
"""A worker that dies is started again so many times, after these pauses."""
_STABLE_AFTER_S = 60.0
"""A worker that ran for so long had a new reason to die: the count begins anew."""
_LAST_LINES = 15


@click.command()
@click.option(
    "--mode", type=click.Choice(stack_state.MODES), default="light", show_default=True, help="full: with Weaviate."
)
@click.option("--stages", metavar="NAME,...", help="Which stages the worker runs; default: all six.")
@json_option
@reports_errors
def dev(mode: Mode, stages: str | None, *, as_json: bool) -> None:
    """Start Kafka, Redis, a store and a worker, and keep them running until Ctrl-C.

    Other terminals find them by themselves: `memstream publish`, `changes`, `search`, `status`. Data is kept for the
    next time. On leaving, the worker stops, and so does the stack unless it was up before. A worker that dies is
    started again, a few times. Should this command be killed, its worker leaves by itself; the stack stays up.

    \b
    Examples:
        memstream dev
        memstream dev --mode full --stages record,embed,consolidate,index

    \b
    Exit codes: 0 stopped by Ctrl-C or SIGTERM; 1 failed, or the worker kept dying; 2 wrong use, or another dev runs;
    130 interrupted while starting.
    """
    names = [str(name) for name in parse_stages(stages)]
    stack = Stack(mode)
    another = UsageError(
        "another memstream dev runs with the same MEMSTREAM_HOME",
        next_step="other commands find its stack, and memstream worker adds a worker; or set another MEMSTREAM_HOME",
    )
    with only_one(stack.home / "dev.lock", otherwise=another):
        _serve(stack, mode, names, as_json=as_json)


def _serve(stack: Stack, mode: Mode, names: list[str], *, as_json: bool) -> None:
    was_up = stack.status().state == "up"
    worker: ChildWorker | None = None
    serving = False
    with terminated_like_interrupted():
        try:
            state = stack.up(on_stderr())
            settings = from_environment(os.environ, defaults=stack_settings(Settings(), state))
            create_topics(settings)
            worker = ChildWorker(settings, log=stack.home / mode / "logs" / "worker.log", stages=names)
            worker.start()
            _await_ready(worker)
            serving = True
            _announce(state, worker, names, settings, as_json=as_json)
            _watch(worker)
        except KeyboardInterrupt:
            click.echo("stopping", err=True)
            if not serving:
                sys.exit(EXIT_INTERRUPTED)
        finally:
            with uninterrupted():
                if worker is not None:
                    worker.stop()
                if not was_up:
                    stack.down(progress=on_stderr())


def _await_ready(worker: ChildWorker) -> None:
    while not worker.is_ready():
        if worker.exit_code is not None:
            _report_death(worker)
            fail("the worker ended while starting", next_step=f"read {worker.log}")
        time.sleep(_POLL_S)


def _watch(worker: ChildWorker) -> None:
    """Stay until the worker has died too often; Ctrl-C leaves by an exception."""
    restarts = 0
    since_s = time.monotonic()
    while True:
        time.sleep(_POLL_S)
        if worker.exit_code is None:
            continue
        _report_death(worker)
        if time.monotonic() - since_s > _STABLE_AFTER_S:
            restarts = 0
        if restarts == len(_RESTART_AFTER_S):
            fail(f"the worker ended {restarts + 1} times in a row", next_step=f"read {worker.log}", code=EXIT_FAILED)
        click.echo(f"starting it again in {_RESTART_AFTER_S[restarts]:.0f} s", err=True)
        time.sleep(_RESTART_AFTER_S[restarts])
        restarts += 1
        worker.start()
        since_s = time.monotonic()


def _report_death(worker: ChildWorker) -> None:
    code = worker.exit_code or 0
    ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    for line in worker.last_lines(_LAST_LINES):
        click.echo(f"  {line}", err=True)
    click.echo(f"the worker (process {worker.pid}) {ended}", err=True)


def _announce(state: StackState, worker: ChildWorker, stages: list[str], settings: Settings, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {"state": "ready", "stack": state, "stages": stages, "worker": {"pid": worker.pid, "log": str(worker.log)}}
        )
        return
    store = settings.store.path if settings.store.kind == "sqlite" else f"weaviate {settings.store.http}"
    rows: dict[str, str | Path] = {
        "Kafka": settings.kafka.bootstrap_servers,
        "Redis": settings.printable()["MEMSTREAM_REDIS_URL"] if state.redis is None else state.redis.url,
        "store": store,
        "stages": ", ".join(stages),
        "worker log": worker.log,
    }
    for name, value in rows.items():
        click.echo(f"{name:<11}{value}")
    click.echo(
        "ready: `memstream publish FILE`, `changes --follow`, `search USER QUERY`, `status --watch`; Ctrl-C stops"
    )
