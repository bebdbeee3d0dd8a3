"""The default extractor: rules, for English and Chinese, with no model and no network.

It keeps what a person says in the first person, clause by clause, in the person's own words, and says which clauses
state an attribute that holds one value at a time (a slot). Other languages give no facts; their turns are memories all
the same.

A fact starts with the speaker's name, where the turn has one: `Maria: I moved to Berlin last week.` The words are not
turned into the third person, because a rule that rewrites verbs and pronouns is wrong more often than one that only
cuts. The name is part of the text for two reasons: where several people talk, the same sentence said by two
of them is two facts, which equality of texts must see; and a reader of one fact alone must know who "I" is.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas.window import Window, WindowTurn
from streams.analysis import normalized, tokens
from streams.extractors.protocol import Fact
from streams.extractors.rule_table import About, Drop, Grammar, Rule
from streams.extractors.rules_chinese import CHINESE
from streams.extractors.rules_english import ENGLISH

PEOPLE = frozenset({"user", "human"})
"""Roles that are people, with a name or without."""
MACHINES = frozenset({"assistant", "system", "tool", "function", "developer", "model", "ai", "bot", "chatbot", "agent"})
"""Roles that never state facts. A role of the publisher's own counts as a person where the turn names the speaker."""

MIN_TOKENS = 2
"""A statement of fewer analysed tokens ("I did.") says nothing on its own."""
MAX_SENTENCE_CHARACTERS = 400
"""Longer ones are pasted text, logs or code, not statements; it also bounds what a pattern can cost."""

_FOLDS = {ord(full): chr(ord(full) - 0xFEE0) for full in map(chr, range(0xFF01, 0xFF5F))} | {
    0x3000: " ",  # ideographic space
    0x2018: "'",
    0x2019: "'",
    0x201C: '"',
    0x201D: '"',
}
"""One character for one, so that a place in the folded copy is the same place in the speaker's words."""

_NOT_ONES_OWN_WORDS = re.compile(r"^```.*?(?:^```|\Z)|^[ \t]*>.*?$", re.MULTILINE | re.DOTALL)
"""Code blocks and lines quoted as in mail."""
_SENTENCE_END = re.compile(
    r"(?<=[。!?])(?=[^\s\x00-\x7f])|(?<=[!?。…])\s+|\n+"
    r"|(?<=\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\b[A-Z]\.)\s+"
)

_HAN = re.compile("[\u3400-\u9fff]")
_KANA_OR_HANGUL = re.compile("[\u3041-\u30ff\uac00-\ud7a3]")
_LATIN = re.compile("[A-Za-z]")
_WORD = re.compile(r"\w+")
_SIGNS_AROUND = " \t.,;:!~。，；：！～、…"


class RulesExtractor:
    """First-person statements of people, by rules.

    Guarantees: a fact depends on its own turn only, so the same turn gives the same facts in whatever window it stands;
    a statement made twice in a window is one fact with both sources.
    """

    @property
    def name(self) -> str:
        """Names extractor and version; other rules are a new version."""
        return "rules/1"

    async def extract(self, windows: Sequence[Window]) -> list[list[Fact]]:
        """Extract from several windows; never fails, never waits."""
        return [
            _merged(fact for turn in window.turns if _is_person(turn) for fact in _TurnReader(turn).facts())
            for window in windows
        ]


def _is_person(turn: WindowTurn) -> bool:
    role = turn.role.casefold()
    return role in PEOPLE or (bool(turn.name) and role not in MACHINES)


def _merged(facts: Iterable[Fact]) -> list[Fact]:
    merged: dict[tuple[str | None, str], Fact] = {}
    for fact in facts:
        statement = (fact.slot, normalized(fact.text))
        first = merged.setdefault(statement, fact)
        if first is not fact:
            sources = dict.fromkeys((*first.source_event_ids, *fact.source_event_ids))
            merged[statement] = dataclasses.replace(first, source_event_ids=tuple(sources))
    return list(merged.values())


@dataclass
class _Found:
    """A rule that matched, and which part of the sentence it speaks for."""

    rule: Rule
    match: re.Match[str]
    start: int
    end: int


class _TurnReader:
    """Reads one turn, sentence by sentence, and keeps in mind whom it is about."""

    def __init__(self, turn: WindowTurn) -> None:
        self._turn = turn
        self._about: About = "speaker"

    def facts(self) -> Iterator[Fact]:
        return (fact for _, fact in self.statements())

    def statements(self) -> Iterator[tuple[Rule, Fact]]:
        """The facts of the turn, each with the rule that found it."""
        sentences = list(_sentences(self._turn.content))
        while sentences and not sentences[-1].may_match:  # it tells nothing, and nothing that follows depends on it
            sentences.pop()
        for sentence in sentences:
            for found in self._read(sentence.grammar, sentence.folded, may_match=sentence.may_match):
                words = sentence.words[found.start : found.end].strip(_SIGNS_AROUND)
                if found.rule.slot or len(tokens(words)) >= MIN_TOKENS:
                    yield found.rule, self._fact(sentence.grammar, found, words)

    def _read(self, grammar: Grammar, sentence: str, *, may_match: bool) -> list[_Found]:
        start = _after_opening(grammar, sentence, 0)
        if _is_dropped(grammar.sentence_drops, sentence[start:]):
            return []
        statements: list[_Found] = []
        goes_on = False  # whether the next clause may still belong to the last statement
        for clause_start, clause_end in _clauses(grammar, sentence, start):
            clause = sentence[clause_start:clause_end]
            if _is_dropped(grammar.clause_drops, clause):
                goes_on = False
                continue
            rule, match = self._first_match(grammar, clause) if may_match else (None, None)
            self._turn_to(rule, clause)
            if goes_on and (rule is None or (rule.subject == "implied" and not rule.slot)):
                statements[-1].end = clause_end
            elif rule is not None and match is not None:
                statements.append(_Found(rule, match, clause_start, clause_end))
                goes_on = rule.slot is None
        return statements

    def _first_match(self, grammar: Grammar, clause: str) -> tuple[Rule, re.Match[str]] | tuple[None, None]:
        adverbial = grammar.adverbial.match(clause)
        start = adverbial.end() if adverbial else 0
        for rule in grammar.rules_about[self._about]:
            if match := rule.pattern.match(clause, start):
                return rule, match
        return None, None

    def _turn_to(self, rule: Rule | None, clause: str) -> None:
        """A clause says whom the next one without a subject is about; one that no rule knows is about others."""
        if rule is None:
            if len(tokens(clause)) >= MIN_TOKENS:  # not yet with what is left of a greeting: "Nova!"
                self._about = "other"
        elif rule.subject == "other":
            self._about = "other"
        else:
            self._about = "speaker" if rule.slot else "anything"

    def _fact(self, grammar: Grammar, found: _Found, words: str) -> Fact:
        starts_text = found.rule.template.startswith("{clause}")
        first = words[:1].upper() if starts_text else words[:1].lower()
        text = found.rule.template.format(clause=first + words[1:])
        if self._turn.name:
            text = grammar.named.format(name=self._turn.name, text=text)
        return Fact(
            text=text,
            source_event_ids=(self._turn.event_id,),
            slot=_slot(found),
            valid_from=self._turn.occurred_at,
            confidence_ratio=found.rule.confidence_ratio,
        )


class _Sentence(NamedTuple):
    """One sentence of a turn.

    Attributes:
        words: as they were said.
        folded: what patterns see.
        grammar: of its language.
        may_match: whether any rule can match in it.
    """

    words: str
    folded: str
    grammar: Grammar
    may_match: bool


def _sentences(content: str) -> Iterator[_Sentence]:
    """The sentences that are one's own words, in a language that there are rules for."""
    for words in _SENTENCE_END.split(_NOT_ONES_OWN_WORDS.sub("", content)):
        folded = words if words.isascii() else words.translate(_FOLDS)
        grammar = _grammar(folded)
        if grammar is not None and len(words) <= MAX_SENTENCE_CHARACTERS:
            may_match = not (folded.isascii() and grammar.cues.isdisjoint(_WORD.findall(folded.lower())))
            yield _Sentence(words, folded, grammar, may_match)


def _is_dropped(drops: tuple[Drop, ...], text: str) -> bool:
    for drop in drops:  # noqa: SIM110  (runs for every clause: a generator costs as much as the patterns)
        if drop.pattern.search(text):
            return True
    return False


def _grammar(sentence: str) -> Grammar | None:
    if _HAN.search(sentence):
        return None if _KANA_OR_HANGUL.search(sentence) else CHINESE
    return ENGLISH if _LATIN.search(sentence) else None


def _after_opening(grammar: Grammar, sentence: str, start: int) -> int:
    while sentence[start : start + 1].isspace():
        start += 1
    opening = grammar.opening.match(sentence, start)
    return opening.end() if opening else start


def _clauses(grammar: Grammar, sentence: str, start: int) -> Iterator[tuple[int, int]]:
    """Where each clause starts and ends, openings cut off."""
    preface = grammar.preface.match(sentence, start)
    for border in grammar.border.finditer(sentence, preface.end() if preface else start):
        yield start, border.start()
        start = _after_opening(grammar, sentence, border.end())
    yield start, len(sentence)


def _slot(found: _Found) -> str | None:
    slot = found.rule.slot
    if slot is None or "{value}" not in slot:
        return slot
    value = " ".join(tokens(found.match["value"]))
    return slot.format(value=value) if value else None
