"""Cues of the English rules: sentences without one are passed over, and nobody can tell."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.window import WindowTurn
from streams.extractors import rules
from streams.extractors.rules import _TurnReader
from streams.extractors.rules_english import ENGLISH

SAID_AT = datetime(2025, 3, 1, 10, tzinfo=UTC)


def turn(content: str) -> WindowTurn:
    """A user's turn; only what is said varies."""
    return WindowTurn(
        event_id="e1", offset=1, role="user", name=None, content=content, occurred_at=SAID_AT, recorded_at=SAID_AT
    )


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(ENGLISH.slots + ENGLISH.statements).flatmap(lambda rule: st.from_regex(rule.pattern)))
def test_no_rule_matches_without_a_cue(text: str) -> None:
    """Whatever an English rule matches has a cue, so a sentence in ASCII without one needs no rule."""
    text = text.strip()
    if text.isascii() and any(rule.pattern.match(text) for rule in ENGLISH.slots + ENGLISH.statements):
        assert not ENGLISH.cues.isdisjoint(re.findall(r"\w+", text.lower()))


_SPOKEN = st.lists(
    st.sampled_from(
        [
            *(
                "I live in Berlin.",
                "Moved to Rome!",
                "Bought a new bike yesterday morning.",
                "My sister works as a nurse;",
            ),
            *(
                "it was fine, thanks.",
                "Nova!",
                "The soup was better than expected",
                "Could you remind me?",
                "Thanks - ",
            ),
            *(
                "Tom says: ask us.",
                "We tried it, and I'm a teacher now.",
                "If not,",
                "started working at Siemens",
                "\n",
            ),
            *(
                "我住在上海。",
                "搬到了北京。",
                "I’m 34.",
                "went there with them twice",
                "Hi Nova, then got a job at Bosch.",
            ),
        ]
    ),
    max_size=6,
).map(" ".join)


@settings(deadline=None)
@given(_SPOKEN)
def test_sentences_without_a_cue_change_nothing(text: str) -> None:
    """Facts are the same when every rule is tried on every sentence."""
    every_rule = [s._replace(may_match=True) for s in rules._sentences(text)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "_sentences", lambda _: every_rule)
        expected = list(_TurnReader(turn(text)).statements())
    assert list(_TurnReader(turn(text)).statements()) == expected


@pytest.mark.parametrize("word", ["I", "we", "my", "our", "me", "us"])
def test_each_person_is_a_cue(word: str) -> None:
    """Words for the speaker, and nothing else, make a statement of what somebody else did."""
    assert list(_TurnReader(turn(f"The nurse showed {word} an old bike")).statements())
    assert not list(_TurnReader(turn("The nurse showed Tom an old bike")).statements())


@pytest.mark.parametrize(
    "verb",
    """adopted applied booked bought finished graduated joined married met moved passed quit ran saw signed started took
    tried visited went got relocated""".split(),  # noqa: SIM905 (a list of quoted words hides the words)
)
def test_each_verb_without_a_subject_is_a_cue(verb: str) -> None:
    """A verb that may stand without its subject is read as the speaker's."""
    place = {"signed": "up at Bosch today", "got": "a job at Bosch", "relocated": "to Berlin"}.get(
        verb, "to Bosch today"
    )
    assert list(_TurnReader(turn(f"{verb.capitalize()} {place}")).statements())
