"""The command's entry: which commands there are. Each is imported only when it runs, so that `--help` is quick."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import importlib

import click

COMMANDS = {
    "demo": "streams.cli.demo:demo",
    "dev": "streams.cli.dev:dev",
    "worker": "streams.cli.worker:worker",
    "publish": "streams.cli.publish:publish",
    "changes": "streams.cli.changes:changes",
    "search": "streams.cli.search:search",
    "status": "streams.cli.status:status",
    "trace": "streams.cli.trace:trace",
    "dlq": "streams.cli.dlq:dlq",
    "verify": "streams.cli.verify:verify",
    "topology": "streams.cli.topology:topology",
    "schemas": "streams.cli.schemas:schemas",
    "stack": "streams.cli.stack:stack",
}
"""In the order a newcomer meets them."""


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """All commands, in our order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="memstream")
def main() -> None:
    """Conversation events in, long-term memory out, on a durable, ordered, replayable log.

    \b
    Exit codes of every command: 0 done, 1 failed, 2 wrong use, 3 nothing to talk to, 130 interrupted.
    """


if __name__ == "__main__":
    main()
