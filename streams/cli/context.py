"""What all commands share: where settings come from, how errors look, what exit codes mean.

Settings come, in this order, from the command's options, the environment, and the stack that `memstream dev` or
`memstream stack up` started; from the stack only when no other Kafka is named. Errors go to standard error as
`error: ...` and `next: ...`, results to standard output.
"""

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, ParamSpec, TypeVar

import click
import msgspec

from infra.native import state as stack_state
from infra.native.errors import PartUnknownError, StackConflictError, StackError, StackUnknownError
from streams.errors import AwayError, MemstreamError, NothingThereError, TransientError, UsageError
from streams.settings import Settings, environment_name, from_environment
from topology.cluster import AWAY_NEXT, KafkaAwayError, ProvisionError
from topology.topics import LAPTOP_PARTITIONS

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOTHING_THERE = 3
EXIT_INTERRUPTED = 130

NO_STACK_NEXT = "start one with `memstream dev` (or `memstream stack up`), or set MEMSTREAM_KAFKA_BOOTSTRAP_SERVERS"

P = ParamSpec("P")
T = TypeVar("T")


def settings_options(command: Callable[P, T]) -> Callable[P, T]:
    """Add the options that say where the parts are; the command gets `settings`, and errors in them are reported."""

    @click.option("--bootstrap-servers", metavar="HOST:PORT", help="Kafka; default: the running stack's.")
    @click.option("--namespace", metavar="NAME", help="Prefix of topics and groups, for installations on one cluster.")
    @click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="GROUP.NAME=VALUE",
        help="Any other setting, such as store.kind=weaviate. May be repeated.",
    )
    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        options: dict[str, Any] = kwargs
        given = dict(_assignment(text) for text in options.pop("assignments"))
        bootstrap_servers, namespace = options.pop("bootstrap_servers"), options.pop("namespace")
        if bootstrap_servers is not None:
            given["kafka.bootstrap_servers"] = bootstrap_servers
        if namespace is not None:
            given["kafka.namespace"] = namespace
        options["settings"] = resolve(given)
        return command(*args, **kwargs)

    return reports_errors(wrapper)


def resolve(given: dict[str, str]) -> Settings:
    """Options over environment over the running stack.

    Args:
        given: `group.name` to text.

    Raises:
        NothingThereError: no option, no environment and no running stack says where Kafka is.
    """
    environment = dict(os.environ)
    for name, text in given.items():
        group, dot, field = name.partition(".")
        if not dot or not field:
            raise _no_assignment(name)
        environment[environment_name(group, field)] = text
    settings = from_environment(environment, defaults=_from_stack(environment))
    if not settings.kafka.bootstrap_servers:
        raise NothingThereError("no stack is running and no Kafka is named", next_step=NO_STACK_NEXT)
    return settings


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise _no_assignment(text)
    return name, value


def _no_assignment(text: str) -> UsageError:
    return UsageError(f"--set {text}: not GROUP.NAME=VALUE", next_step="for example --set store.kind=weaviate")


def find_settings() -> Settings:
    """Settings as commands find them: the environment over the running stack.

    Raises:
        NothingThereError: neither says where Kafka is.
    """
    return resolve({})


def _from_stack(environment: Mapping[str, str]) -> Settings:
    """What the running stack says, if there is one and nobody names another Kafka.

    Another log has another store: what belongs to the stack's log must not be searched, written or mended for it.
    """
    stack = stack_state.find()
    if stack is None or stack.kafka is None:
        return Settings()
    named = environment.get(environment_name("kafka", "bootstrap_servers"), "")
    return stack_settings(Settings(), stack) if named in {"", stack.kafka.bootstrap_servers} else Settings()


def stack_settings(settings: Settings, stack: stack_state.StackState) -> Settings:
    """Settings completed by a given stack; unchanged when it is down."""
    if stack.state != "up" or stack.kafka is None or stack.redis is None or stack.store is None:
        return settings
    settings = settings.replace("kafka", bootstrap_servers=stack.kafka.bootstrap_servers, partitions=LAPTOP_PARTITIONS)
    settings = settings.replace("redis", url=stack.redis.url)
    if stack.store.kind == "sqlite":
        return settings.replace("store", kind="sqlite", path=stack.store.path)
    return settings.replace(
        "store", kind="weaviate", http=stack.store.http, grpc=stack.store.grpc, api_key=stack.store.api_key
    )


def json_option(command: Callable[P, T]) -> Callable[P, T]:
    """Add `--json`; the command gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def fail(message: str, *, next_step: str = "", code: int = EXIT_FAILED) -> NoReturn:
    """Say what is wrong and what to do next, and leave."""
    click.echo(f"error: {message}", err=True)
    if next_step:
        click.echo(f"next: {next_step}", err=True)
    raise SystemExit(code)


def fail_of_stack(error: StackError) -> NoReturn:
    """Say why the native stack refuses or has failed, and leave."""
    codes = {
        StackConflictError: EXIT_USAGE,
        PartUnknownError: EXIT_USAGE,
        StackUnknownError: EXIT_NOTHING_THERE,
    }
    fail(error.message, next_step=error.next_step, code=codes.get(type(error), EXIT_FAILED))


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Turn our errors into messages and exit codes; anything else is a bug and keeps its traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except NothingThereError as error:
            fail(str(error), next_step=error.next_step, code=EXIT_NOTHING_THERE)
        except UsageError as error:
            fail(str(error), next_step=error.next_step, code=EXIT_USAGE)
        except AwayError as error:
            fail(str(error), next_step=AWAY_NEXT, code=EXIT_NOTHING_THERE)
        except TransientError as error:
            fail(
                str(error),
                next_step="see whether Kafka, Redis and the store answer (`memstream stack status`), try again",
            )
        except KafkaAwayError as error:
            fail(str(error), next_step=error.next_step, code=EXIT_NOTHING_THERE)
        except StackError as error:
            fail_of_stack(error)
        except ProvisionError as error:
            fail(str(error), next_step=error.next_step)
        except MemstreamError as error:
            fail(str(error))
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output has gone (`| head`): nothing is wrong.
            sys.stderr.close()
            raise SystemExit(0) from None

    return wrapper


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; Ctrl-C cancels it, so that its `finally` blocks clean up."""
    return asyncio.run(main)
