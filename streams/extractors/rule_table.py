"""What rules are made of. The rules themselves are data: `rules_english`, `rules_chinese`.

Patterns see a copy of the text in which full-width signs and curly apostrophes are plain ones. They match from the
first letter of a clause, where its subject stands: what is said by or about somebody else must not match.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Subject = Literal["speaker", "implied", "other"]

About = Literal["speaker", "anything", "other"]
"""Whom a clause without a subject is about. After a free statement it may be what that one mentioned (I have a cat,
called Mochi), so then it states no attribute of the speaker's."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A kind of statement that is kept.

    Attributes:
        name: unique; starts with the language.
        pattern: matched at the start of a clause, after the grammar's `adverbial`.
        subject: whom the clause is about: `speaker` says I; `implied` leaves the subject out, so the rule holds only
            while the clauses before leave it clear that it is the speaker; `other` is somebody or something of theirs.
        slot: the single-valued attribute it states, or none. `{value}` in it stands for the pattern's group `value`,
            analysed: one slot for each value, so that a second allergy does not replace the first.
        template: the fact's text; `{clause}` stands for the speaker's own words.
        confidence_ratio: how often it is right; by judgement, until the evaluation says otherwise.
    """

    name: str
    pattern: re.Pattern[str]
    subject: Subject
    slot: str | None
    template: str
    confidence_ratio: float


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A kind of sentence or clause that is no fact, whatever else it matches.

    Attributes:
        name: unique; starts with the language.
        pattern: searched anywhere.
    """

    name: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """What the extractor knows of one language.

    Attributes:
        opening: what says nothing at the start of a clause (greetings, thanks, conjunctions); cut off.
        preface: what a sentence may start with that changes or dates what follows; it stays with the first clause.
        border: where a sentence falls into clauses; the match itself belongs to none.
        adverbial: what may stand before the subject without making the statement less true today; rules match after it.
        sentence_drops: tried on whole sentences.
        clause_drops: tried on clauses.
        slots: tried in order on each clause that is left; the first match makes a fact of that clause alone.
        statements: tried in order on what is left then; a match makes a fact of that clause and those that follow it.
        named: how a fact names its speaker.
        cues: lower-case words; a sentence in ASCII without any of them matches no rule, so that none is tried.
    """

    opening: re.Pattern[str]
    preface: re.Pattern[str]
    border: re.Pattern[str]
    adverbial: re.Pattern[str]
    sentence_drops: tuple[Drop, ...]
    clause_drops: tuple[Drop, ...]
    slots: tuple[Rule, ...]
    statements: tuple[Rule, ...]
    named: str
    cues: frozenset[str] = frozenset()

    @cached_property
    def rules_about(self) -> Mapping[About, tuple[Rule, ...]]:
        """The rules that may hold, in order, by whom a clause without a subject is about."""
        rules = self.slots + self.statements
        return {
            "speaker": rules,
            "anything": tuple(rule for rule in rules if rule.subject != "implied" or rule.slot is None),
            "other": tuple(rule for rule in rules if rule.subject != "implied"),
        }
