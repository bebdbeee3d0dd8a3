"""English rules: first-person statements, and the attributes that hold one value at a time.

Tense decides about slots: "I live in", "I've moved to" and "I work at" say what is so; "I lived in", "I used to work
at" and "I want to move to" do not, and stay statements without a slot.
"""

import re

from streams.extractors.rule_table import Drop, Grammar, Rule, Subject

_WHEN = (
    r"(?:(?:now|currently|today|yesterday|recently|lately|just|still|finally|officially|nowadays|these days|right now"
    r"|at the moment|as of \w+|(?:last|this|next) \w+|(?:in|on|since) \w+(?: \d{1,4})?"
    r"|(?:an?|\w+) (?:day|week|month|year)s? ago),? )?"
)
"""When it is so, where that leaves it true today; may stand before the subject, and is kept."""
_NOW = r"(?:(?:now|currently|just|also|actually|still|finally|recently|really|already|both) )*"
"""Adverbs after the subject that leave a statement true today."""
_I = rf"I {_NOW}"
_I_HAVE = rf"I(?:'ve| have)? {_NOW}"
_AM = rf"I(?:'m| am) {_NOW}"
_PLACE = r"(?:the )?(?-i:[A-Z])[\w.'-]*"
"""A proper noun: without a gazetteer, the capital is what tells a place or company from a common noun."""
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = rf"(?:the )?(?:\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}|{_MONTH}\.? (?:the )?\d|\d{{1,4}}[-/.]\d)"
_END = (
    r"(?=[.!,;]*$|,? (?:and|but|now|today|this|last|years?|in|at|for|with|by|here|since|these|so|too|as|because|on)\b)"
)
_NOT_OVER = (
    r"(?!.*\b(?:when I was|as a (?:kid|child|teenager|student|baby)|for (?:a|\w+) (?:day|week|month)s?|back then)\b)"
)
_OCCUPATION = (
    r"(?:accountant|actor|actress|analyst|architect|artist|attorney|baker|barista|bartender|biologist|builder|carpenter"
    r"|cashier|chef|chemist|cleaner|clerk|coach|consultant|cook|counsell?or|dentist|designer|developer|doctor|driver"
    r"|economist|editor|electrician|engineer|farmer|firefighter|freelancer|gardener|geologist|hairdresser|illustrator"
    r"|instructor|journalist|judge|lawyer|lecturer|librarian|manager|mathematician|mechanic|midwife|musician|nurse"
    r"|optician|paramedic|pharmacist|photographer|physicist|physiotherapist|pilot|plumber|policeman|policewoman"
    r"|principal|producer|professor|programmer|psychologist|receptionist|reporter|researcher|scientist|secretary|singer"
    r"|soldier|student|surgeon|teacher|technician|therapist|trainer|translator|tutor|vet|veterinarian|waiter|waitress"
    r"|welder|writer)"
)
_TITLE = rf"(?:(?!(?:of|my|the|than|like|big|huge|former|ex|retired|bad|good|terrible)\b)[\w-]+ ){{0,3}}{_OCCUPATION}"
_DIET = (
    r"(?:vegetarian|vegan|pescatarian|pescetarian|flexitarian|plant[- ]based|gluten[- ]free|dairy[- ]free|keto|kosher"
    r"|halal)"
)
_NO_EMPLOYER = (
    r"(?!(?:home|night|it|that|this|the moment|an? living|free|my|myself|hours|least|first|last|times?|\d|another|about"
    r"|any|everyone|weekends?|money|fun)\b)"
)
_NO_PLACE = r"(?!(?:an?|my|our|this|that|the|fear|hope|peace|harmony|style|sin|denial|constant|such)\b)"
_SUBSTANCE = r"(?P<value>(?:(?!(?:I|but|so|which|because|since|as|when|from|if|anymore|any more)\b)[\w-]+ ?){1,5})"


def _rule(
    name: str,
    pattern: str,
    confidence_ratio: float,
    *,
    slot: str | None = None,
    subject: Subject = "speaker",
) -> Rule:
    return Rule(
        name=f"en.{name}",
        pattern=re.compile(pattern, re.IGNORECASE),
        subject=subject,
        slot=slot,
        template="I {clause}." if subject == "implied" else "{clause}.",
        confidence_ratio=confidence_ratio,
    )


def _drop(name: str, pattern: str) -> Drop:
    return Drop(name=f"en.{name}", pattern=re.compile(pattern, re.IGNORECASE))


_SLOTS = (
    _rule("name.is", r"my (?:full |first |real )?name(?:'s| is) (?-i:[A-Z])\w", 0.95, slot="name"),
    _rule(
        "name.called",
        rf"(?:{_I}go by|{_AM}called|(?:(?:you can|please|just|everyone|friends) )*calls? me) (?-i:[A-Z])\w",
        0.85,
        slot="name",
    ),
    _rule("age.years", rf"{_AM}\d{{1,3}}(?:[ -]years?[ -]old|[ -]?y/?o)\b", 0.95, slot="age"),
    _rule("age.number", rf"{_AM}\d{{1,3}}(?=[.!]*$|,? (?:and|now|today|this year)\b)", 0.85, slot="age"),
    _rule(
        "age.turned",
        rf"{_I}turned \d{{1,3}}(?=[.!]*$| (?:today|yesterday|last|this|on|and)\b)",
        0.85,
        slot="age",
    ),
    _rule("home.live", rf"(?:I|we) {_NOW}(?:live|reside) (?:in|near|outside) {_PLACE}", 0.9, slot="home"),
    _rule("home.live_lowercase", rf"(?:I|we) {_NOW}live in {_NO_PLACE}[a-z]+(?: [a-z]+)?{_END}", 0.7, slot="home"),
    _rule(
        "home.living",
        rf"(?:I'm|I am|we're|we are) {_NOW}(?:living|based) in {_PLACE}",
        0.9,
        slot="home",
    ),
    _rule(
        "home.since",
        rf"(?:I|we)(?:'ve| have) (?:been living|lived) in {_PLACE}.*\b(?:for|since)\b",
        0.85,
        slot="home",
    ),
    _rule(
        "home.moved",
        rf"{_NOT_OVER}(?:I|we)(?:'ve| have)? {_NOW}(?:moved|relocated) (?:back )?(?:from [\w ]+ )?to {_PLACE}",
        0.8,
        slot="home",
    ),
    _rule(
        "home.moved_implied",
        rf"{_NOT_OVER}(?:moved|relocated) (?:back )?to {_PLACE}",
        0.6,
        slot="home",
        subject="implied",
    ),
    _rule("employer.work", rf"{_I}work (?:at|for) {_NO_EMPLOYER}\w", 0.85, slot="employer"),
    _rule("employer.working", rf"{_AM}(?:working|employed) (?:at|for|by) {_PLACE}", 0.85, slot="employer"),
    _rule(
        "employer.started",
        rf"{_I_HAVE}(?:started (?:working|an? (?:new )?job|my new job)|got (?:a|the|my)(?: new)? job|(?:got|was) hired)"
        rf" (?:at|by|with) {_PLACE}",
        0.85,
        slot="employer",
    ),
    _rule("employer.joined", rf"{_I_HAVE}joined {_PLACE} as an? ", 0.85, slot="employer"),
    _rule(
        "employer.started_implied",
        rf"(?:started (?:working|a new job)|got (?:a|the) (?:new )?job) at {_PLACE}",
        0.6,
        slot="employer",
        subject="implied",
    ),
    _rule("job.work_as", rf"(?:{_I}work|{_AM}working) as (?:an?|the) \w", 0.9, slot="job"),
    _rule("job.am", rf"{_AM}an? {_TITLE}{_END}", 0.85, slot="job"),
    _rule(
        "job.became",
        rf"{_I_HAVE}(?:became|become|(?:was|got|been) (?:promoted to|hired as)) (?:an? |the )?{_TITLE}\b",
        0.85,
        slot="job",
    ),
    _rule("birthday.is", rf"my (?:birthday|date of birth)(?:'s| is| falls)(?: on)? {_DATE}", 0.95, slot="birthday"),
    _rule(
        "birthday.born",
        rf"I was born (?:on|in) (?:{_DATE}|{_MONTH}\b|(?:19|20)\d\d\b)",
        0.9,
        slot="birthday",
    ),
    _rule(
        "diet.am",
        rf"(?:{_AM}|I(?:'ve| have) (?:been|gone|turned) |{_I}(?:became|went|turned) )(?:an? )?"
        rf"(?:(?:strict|lifelong|committed) )?{_DIET}{_END}",
        0.9,
        slot="diet",
    ),
    _rule(
        "diet.follow",
        rf"{_I}(?:follow|keep|eat|am on)(?: an?)?(?: strict(?:ly)?)? {_DIET}(?: diet)?{_END}",
        0.85,
        slot="diet",
    ),
    _rule(
        "allergy.to",
        rf"{_AM}(?:not |no longer )?(?:(?:very|severely|highly|deathly|mildly|slightly) )?allergic to {_SUBSTANCE}",
        0.9,
        slot="allergy:{value}",
    ),
    _rule(
        "allergy.have",
        rf"{_I}have an? (?:(?:bad|severe|mild|serious) )?(?P<value>[\w-]+) allergy",
        0.9,
        slot="allergy:{value}",
    ),
)

_EMPTY_VERB = (
    r"(?:agree|apologi[sz]e|appreciate|bet|doubt|get it|guess|hear|hope|mean|see|suppose|thank|understand|wish|wonder"
    r"|(?:think|know|believe|feel|remember|say|said|do|did|can|could|should|would|will)"
    r"(?! (?:that )?(?:I|I'\w+|my|we|\w+ \w+ \w+)\b))\b"
)
"""What follows "I" where nothing is stated. Some of these do state something when a clause of their own follows."""

_PREFACE = (
    r"(?:after|although|as|at|back|because|before|during|even|eventually|every|for|fortunately|growing up|in|last"
    r"|lately|luckily|on|once|one|over|recently|sadly|since|thankfully|this|though|to|today|unfortunately|until|when"
    r"|whenever|while|with|yesterday)\b[^,]{0,80}, (?=(?:I|I'\w+|we|my)\s)"
)

_STATEMENTS = (
    _rule(
        "statement.first_person",
        rf"(?:{_PREFACE})?(?:I|we)(?:'\w+)? {_NOW}(?!{_EMPTY_VERB})\w",
        0.6,
    ),
    _rule(
        "statement.my",
        r"(?:my|our) (?:[\w'-]+ ){1,4}?(?:is|are|was|were|has|have|had|lives?|works?|loves?|likes?|hates?|goes|went|got"
        r"|says|wants?|plays?|needs?|makes?|just|\w+ed)\b|(?:my|our) \w+'s\b",
        0.55,
        subject="other",
    ),
    _rule(
        "statement.implied",
        r"(?:adopted|applied|booked|bought|finished|graduated|joined|married|met|moved"
        r"|passed|quit|ran|saw|signed up|started|took|tried|visited|went)(?: \S+){2,}",
        0.4,
        subject="implied",
    ),
    _rule(
        "statement.touches_speaker",
        r"(?!.*\b(?:you|your|yours)\b)(?=.*\b(?:me|my|our|us|I|we)\b)(?:[\w',-]+ ){5,}",
        0.35,
        subject="other",
    ),
)

_SENTENCE_DROPS = (
    _drop("question", r"\?[\"')\s]*$"),
    _drop(
        "question.unmarked",
        r"^(?:(?:do|does|did|can|could|would|will|should|shall|is|are|am|was|were|have|has|may)(?:n't)?"
        r" (?:I|you|we|he|she|it|they|my|your|the|there|this|that)\b"
        r"|(?:who|what|when|where|why|how|which)(?:'s| (?:do|does|did|is|are|am|was|were|can|could|would|will|should"
        r"|has|have|about|come|many|much|long|often)\b))",
    ),
    _drop("hypothetical", r"^(?:and |but |so )?(?:if|imagine|suppose|what if|unless|pretend|let's say)\b"),
    _drop("reported", r"\b(?:said|says|asked|asks|told \w+|wrote|replied|goes|was like)[,:]"),
)

_CLAUSE_DROPS = (
    _drop(
        "request",
        r"\b(?:please(?! call me)|(?:can|could|would|will) you|let me know|let's|(?:tell|remind|show|help|teach) me"
        r"|I(?:'d| would)? (?:need|want|like|love|prefer)(?: for)? (?:your?|help|some help|advice|to (?:know|ask|hear))"
        r"|I(?:'m| am| was) (?:wondering|asking|curious)|I(?:'ve| have)?(?: got)? (?:\w+ )?(?:\w+ )?questions?)\b",
    ),
    _drop(
        "imperative",
        r"^(?:(?:just|always|never|also|don't|do not) )*(?:add|be|check|create|email|explain|find|forget|generate|give"
        r"|keep|let|list|look|make|note|open|play|remember|send|set|stop|summari[sz]e|take|tell|translate|try|use|walk|wish"
        r"|write|book (?:me|us|an?|the)|call (?:me|us) (?!(?-i:[A-Z])))\b",
    ),
    _drop(
        "reaction",
        r"^(?:I|we)(?:'m|'d|'ll| am| would)? (?:(?:really|so|just|totally|truly|do|can|can't|also|very|too) )*"
        r"(?:love|like|enjoy|appreciate|admire|hate|dislike|hope|think|know|bet|believe|trust|feel|see|wish|understand"
        r"|happy|glad|sorry|proud|excited|thrilled|grateful|thankful|thank|owe|agree)\b"
        r"(?:.*\b(?:you|your|yours)\b|(?: (?:to hear|about|with|all|of|for))*(?: (?:that|this|it|those|them))?[.! ]*$)",
    ),
    _drop(
        "state",
        r"^(?:I'm|I am)(?: \w+)? (?:fine|good|great|ok|okay|well|sorry|sure|glad|back|here|ready|done|afraid|all set|in"
        r"|listening|lost|confused|kidding|joking)(?: (?:now|too|again|with that|about that|so))?"
        r"(?:,? thank(?:s| you).*)?[.! ]*$",
    ),
    _drop(
        "eagerness", r"^I (?:can't wait|couldn't agree|can't believe it|can imagine|don't know|do too|have no idea)\b"
    ),
)

ENGLISH = Grammar(
    opening=re.compile(
        r"(?:(?:hi|hello|hey|greetings|good (?:morning|afternoon|evening))"
        r"(?: (?:there|all|everyone|again|(?-i:[A-Z])\w+))?[,!.: -]+"
        r"|(?:thanks|thank you|thx|cheers)(?: (?:so much|a lot|again|very much|(?-i:[A-Z])\w+))*[,!.: -]+"
        r"|(?:and|but|so|well|oh|ok|okay|yes|yeah|yep|no|nope|sure|anyway|btw|by the way|fyi|honestly|actually|also"
        r"|haha|wow|hmm|um|plus|then|as you know|to be honest|guess what|you know|I mean)(?:[,!.: -]+))+",
        re.IGNORECASE,
    ),
    preface=re.compile(_PREFACE, re.IGNORECASE),
    border=re.compile(
        r"\s*;\s*|(?:\s*[,:]|\s+[-\u2013\u2014])\s+(?:(?:and|but|so|plus|then)\s+)?(?=(?:I|I'\w+|we|my)\s)|\s+(?:and|but|so)\s+(?=(?:I|I'\w+|we|my)\s)",
        re.IGNORECASE,
    ),
    adverbial=re.compile(_WHEN, re.IGNORECASE),
    sentence_drops=_SENTENCE_DROPS,
    clause_drops=_CLAUSE_DROPS,
    slots=_SLOTS,
    statements=_STATEMENTS,
    named="{name}: {text}",
    cues=frozenset(
        """
        i we my our me us
        adopted applied booked bought finished got graduated joined married met moved passed quit ran relocated saw
        signed started took tried visited went
        """.split()  # noqa: SIM905 (a list of quoted words hides the words)
    ),
)
