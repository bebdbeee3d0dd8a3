"""Names of tenants and users that a caller gives."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import DecodeError
from streams.cli.changes import changes
from streams.cli.publish import publish
from streams.cli.search import search
from streams.cli.trace import trace
from streams.cli.verify import verify
from streams.clients.names import check_names
from streams.clients.reader import MemoryReader
from streams.errors import UsageError
from streams.settings import Settings
from topology import topics

KAFKA = ["--bootstrap-servers", "127.0.0.1:1"]


@given(name=st.text(st.sampled_from("a/\x00\n\u3000ü"), max_size=4), is_tenant=st.booleans())
def test_a_name_is_refused_where_an_event_with_it_is(name: str, is_tenant: bool) -> None:
    """The rule is the event's own, for tenants and for users."""
    names = {"tenant": name} if is_tenant else {"user_id": name}
    event = {"type": "forget", "scope": "user", "user_id": "u"} | names
    try:
        topics.CONVERSATION_EVENTS.codec.decode(json.dumps(event).encode())
    except DecodeError:
        with pytest.raises(UsageError, match="no event can be about"):
            check_names(**names)
    else:
        check_names(**names)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (search, ["u1", "words", "--tenant", "a/b"]),
        (search, ["", "words"]),
        (verify, ["--tenant", "a/b"]),
        (verify, ["--user", ""]),
        (trace, ["e1", "--tenant", "a/b"]),
        (changes, ["--tenant", "a/b"]),
        (publish, [__file__, "--tenant", "a/b"]),
    ],
)
def test_commands_refuse_names_that_cannot_be(command: click.Command, arguments: list[str]) -> None:
    """As wrong use, in an event's words, before anything is asked of Kafka or a store."""
    result = CliRunner().invoke(command, [*arguments, *KAFKA])
    assert result.exit_code == 2
    assert "no event can be about" in result.output
    assert ("a slash" if "a/b" in arguments else "length >= 1") in result.output


async def test_the_reader_refuses_them_too(tmp_path: Path) -> None:
    """The Python API says the same."""
    reader = MemoryReader(Settings().replace("store", path=str(tmp_path / "store.db")))
    with pytest.raises(UsageError, match="slash"):
        await reader.search("u1", "words", tenant="a/b")


def test_what_is_no_text_is_refused() -> None:
    """Bytes of the command line that are no UTF-8 cannot be a name either."""
    with pytest.raises(UsageError, match="surrogates"):
        check_names(user_id="\udcff")
