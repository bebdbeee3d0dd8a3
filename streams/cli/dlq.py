"""`memstream dlq`: what stages could not handle, and its way back."""
# ruff: noqa: D301  click keeps the lines of a paragraph that begins with the control character \b

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from rich.progress import Progress

from schemas.outcome import LETTER_REASONS, DeadLetter
from streams.cli.context import EXIT_FAILED, json_option, print_json, reports_errors, settings_options
from streams.cli.display import counted, printable, progress_console
from streams.clients.dead_letters import Heading, LetterBook, LetterPlace, Redrive, SentBack, read_book, read_letters
from streams.clients.log_scan import LogScan
from streams.clock import SystemClock
from streams.errors import UsageError
from streams.settings import Settings
from topology.graph import StageName

_LIST_NEXT = "`memstream dlq list --all` shows all there are"


@click.group()
def dlq() -> None:
    """List, show and redrive dead letters: events that a stage could not handle, whole, with where and why.

    \b
    A letter is named STAGE/TOPIC/PARTITION/OFFSET, after who failed and where the event stood.

    \b
    Exit codes: 0 done; 1 failed, or some letters do not fit into their topic; 2 wrong use, no such letter, or no topics
    yet; 3 nothing to talk to; 130 interrupted.
    """


def _filters(command: Any) -> Any:
    """Add the options that choose letters."""
    for option in (
        click.option(
            "--reason", type=click.Choice([str(reason) for reason in LETTER_REASONS]), help="Only of this reason."
        ),
        click.option("--stage", type=click.Choice([str(name) for name in StageName]), help="Only of this stage."),
    ):
        command = option(command)
    return command


@dlq.command(name="list")
@_filters
@click.option("--all", "with_redriven", is_flag=True, help="Also those that were redriven.")
@settings_options
@json_option
@reports_errors
def list_(stage: str | None, reason: str | None, *, with_redriven: bool, settings: Settings, as_json: bool) -> None:
    """List open dead letters: those that were not redriven.

    \b
    Example:
        memstream dlq list --stage record --json
    """
    book = read_book(LogScan(settings.kafka, client_id="memstream.dlq"))
    headings = chosen(book, stage, reason, with_redriven=with_redriven)
    if as_json:
        print_json({"dead_letters": headings})
    elif headings:
        _print_list(headings)
    else:
        click.echo("no dead letters" if with_redriven else "no open dead letters")
    if book.unreadable:
        click.echo(f"not shown: {counted(book.unreadable, 'letter')} of a newer schema; upgrade to see more", err=True)


@dlq.command()
@click.argument("name")
@click.option("--raw", is_flag=True, help="Only the event's bytes, as they are.")
@settings_options
@json_option
@reports_errors
def show(name: str, *, raw: bool, settings: Settings, as_json: bool) -> None:
    """Show one dead letter: where it stood, why it failed, its bytes.

    \b
    Examples:
        memstream dlq show record/conversation.events/2/43
        memstream dlq show record/conversation.events/2/43 --raw > event.bin
    """
    place = LetterPlace.parse(name)
    letters = list(read_letters(LogScan(settings.kafka, client_id="memstream.dlq"), {place}))
    if not letters:
        raise UsageError(f"there is no dead letter {place}", next_step=_LIST_NEXT)
    letter = letters[-1]
    if raw:
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.buffer.flush()
    elif as_json:
        print_json(_as_json(place, letter))
    else:
        _print_letter(place, letter)


@dlq.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="All open letters, or all that --stage and --reason choose.")
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_options
@json_option
@reports_errors
def redrive(
    names: tuple[str, ...],
    stage: str | None,
    reason: str | None,
    *,
    everything: bool,
    yes: bool,
    settings: Settings,
    as_json: bool,
) -> None:
    """Send open dead letters back to the partition they came from, to be tried again.

    Each goes back together with the note that it did, in one transaction: a crash neither loses nor doubles one. Only
    the stage that failed handles it again. What still cannot be handled becomes a new letter. A letter that no longer
    fits into its topic stays open and is named, and the others go back.

    \b
    Examples:
        memstream dlq redrive record/conversation.events/2/43
        memstream dlq redrive --all --reason unsupported_version --yes
    """
    if bool(names) == everything:
        raise UsageError("say which letters", next_step="give names, or --all")
    if names and (stage or reason):
        raise UsageError("--stage and --reason choose among all letters", next_step="give names, or --all with them")
    named = {LetterPlace.parse(name) for name in names}
    book = read_book(LogScan(settings.kafka, client_id="memstream.dlq"))
    if unknown := named - book.open.keys():
        place = min(unknown)
        why = "was redriven already" if place in book.redriven else "does not exist"
        raise UsageError(f"dead letter {place} {why}", next_step=_LIST_NEXT)
    wanted = named or {LetterPlace.parse(heading.name) for heading in chosen(book, stage, reason)}
    if wanted and not yes:
        _ask(f"send {counted(len(wanted), 'dead letter')} back?")
    done = SentBack()
    if wanted:
        with _progress(len(wanted)) as sent, Redrive(settings, SystemClock()) as back:
            done = back.send_back(wanted, sent=sent)
    if as_json:
        print_json(done)
    else:
        click.echo(f"redriven: {done.redriven} of {len(wanted)}")
    for letter in done.left:
        click.echo(f"{letter.name}: {letter.reason}", err=True)
    if done.left:
        raise SystemExit(EXIT_FAILED)


def chosen(book: LetterBook, stage: str | None, reason: str | None, *, with_redriven: bool = False) -> list[Heading]:
    """The letters that the options choose, oldest failure first."""
    headings = [*book.open.values(), *(book.redriven.values() if with_redriven else ())]
    found = [h for h in headings if stage in (None, h.stage) and reason in (None, h.reason)]
    return sorted(found, key=lambda heading: (heading.failed_at, heading.name))


def _ask(question: str) -> None:
    """Leave unless somebody says yes; where nobody can be asked, say how to say so beforehand."""
    try:
        is_agreed = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise UsageError("nobody answers", next_step="give --yes to send them back without being asked") from None
    if not is_agreed:
        raise click.Abort


def text_of(raw: bytes | None) -> str:
    """Bytes as UTF-8, with an escape for every byte and character that would not show."""
    return "(none)" if raw is None else printable(raw.decode("utf-8", errors="backslashreplace"))


def _as_json(place: LetterPlace, letter: DeadLetter) -> dict[str, Any]:
    """A letter for programs: bytes in base64, and the value also as text."""
    body: dict[str, Any] = msgspec.to_builtins(letter, builtin_types=())
    return {"name": str(place), **body, "value_text": text_of(letter.value)}


def _print_letter(place: LetterPlace, letter: DeadLetter) -> None:
    rows = {
        "name": str(place),
        "topic": f"{letter.topic} partition {letter.partition} offset {letter.offset}",
        "recorded": f"{letter.recorded_at:%Y-%m-%d %H:%M:%S} UTC",
        "reason": str(letter.reason),
        "error": letter.error,
        "attempts": str(letter.attempts),
        "failed": f"{letter.failed_at:%Y-%m-%d %H:%M:%S} UTC",
        "key": text_of(letter.key),
        **{f"header {name}": text_of(value) for name, value in letter.headers},
        "value": counted(len(letter.value or b""), "byte"),
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        click.echo(f"{name:<{width}}  {value}")
    click.echo(text_of(letter.value))


def _print_list(headings: list[Heading]) -> None:
    names = max(len(heading.name) for heading in headings)
    reasons = max(len(heading.reason) for heading in headings)
    for heading in headings:
        back = "  (redriven)" if heading.redriven_at else ""
        failed = f"{heading.failed_at:%Y-%m-%d %H:%M:%S}  {heading.reason:<{reasons}}  {printable(heading.error)}"
        click.echo(f"{heading.name:<{names}}  {failed}{back}")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    console = progress_console()
    if not console.is_terminal:
        yield lambda _: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("redriving", total=total)
        yield lambda count: bar.advance(task, count)
