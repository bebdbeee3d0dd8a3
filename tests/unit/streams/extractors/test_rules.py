"""The rules extractor: every rule on what it must take and what it must leave, in English and Chinese.

Over 400 lines because the examples of all rules stand side by side, English and Chinese.
"""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.window import Window, WindowTurn
from streams.extractors.protocol import Fact
from streams.extractors.rules import MAX_SENTENCE_CHARACTERS, RulesExtractor, _TurnReader
from streams.extractors.rules_chinese import CHINESE
from streams.extractors.rules_english import ENGLISH

SAID_AT = datetime(2025, 3, 1, 10, tzinfo=UTC)

TAKES: dict[str, tuple[str, ...]] = {
    "en.name.is": ("My name is Maria.", "Hi there, my name's Jonas"),
    "en.name.called": ("Call me Max.", "Please call me Lexi!", "Everyone calls me Bo"),
    "en.age.years": ("I'm 34 years old.", "I am 7 yo"),
    "en.age.number": ("I'm 34.", "I'm 34 now"),
    "en.age.turned": ("I just turned 40 last week.", "I turned 40"),
    "en.home.live": ("I live in Berlin.", "These days I live near Lyon", "We currently live in the Netherlands"),
    "en.home.live_lowercase": ("i live in berlin", "I live in new york now"),
    "en.home.living": ("I'm living in Oslo at the moment.", "I'm based in Lagos"),
    "en.home.since": ("I've lived in Porto since 2019.", "I have been living in Porto for five years"),
    "en.home.moved": (
        "I moved to Berlin last week.",
        "Last week, I moved to Berlin",
        "Big news: I moved to Berlin",
        "I've just moved from Rome to Bonn",
    ),
    "en.home.moved_implied": ("Just moved to Berlin!", "Moved back to Rome"),
    "en.employer.work": ("I work at Siemens.", "I work for a small bakery"),
    "en.employer.working": ("I'm currently working at Siemens.", "I'm employed by Lufthansa"),
    "en.employer.started": ("I started working at Bosch.", "I got a new job at Bosch", "I got hired by Bosch"),
    "en.employer.joined": ("I joined Nokia as a tester.",),
    "en.employer.started_implied": ("Started a new job at Bosch.", "Got a job at Nokia!"),
    "en.job.work_as": ("I work as a nurse.", "I'm working as an undertaker"),
    "en.job.am": ("I'm a nurse.", "I am a senior software engineer at Siemens."),
    "en.job.became": ("I became a teacher.", "I was promoted to head librarian", "I got hired as a driver"),
    "en.birthday.is": ("My birthday is March 3rd.", "My birthday is on the 3rd of March", "my birthday's 12/04"),
    "en.birthday.born": ("I was born on 4 May 1990.", "I was born in 1984"),
    "en.diet.am": ("I'm vegan now.", "I've gone vegetarian", "I'm a lifelong vegetarian"),
    "en.diet.follow": ("I follow a strict keto diet.", "I keep kosher"),
    "en.allergy.to": ("I'm allergic to peanuts.", "I'm severely allergic to bee stings", "I'm not allergic to cats"),
    "en.allergy.have": ("I have a severe peanut allergy.",),
    "en.statement.first_person": (
        "I adopted a dog named Rex.",
        "I took my dog for a walk in NYC",
        "I love hiking in the Alps",
        "Last Friday, I took the kids to the zoo",
        "I used to live in Paris",
        "I want to move to Canada next year",
    ),
    "en.statement.my": ("My sister lives in Porto.", "My dog's sick again"),
    "en.statement.implied": ("Took my dog for a walk in NYC.", "Finally finished the marathon in Chicago"),
    "en.statement.touches_speaker": ("The letter from the museum really surprised me last night.",),
    "zh.name.called": ("我叫王芳。", "大家好，我的名字是李雷", "我叫Maria"),
    "zh.name.called_implied": ("名字叫王芳。",),
    "zh.age.years": ("我今年34岁。", "我已经四十岁了"),
    "zh.age.years_implied": ("今年34岁。",),
    "zh.home.live": ("我住在上海。", "我现在住在上海浦东", "我家住在苏州"),
    "zh.home.live_implied": ("现在住在上海。",),
    "zh.home.moved": ("我上周搬到了北京。", "我从上海搬去杭州了"),
    "zh.home.moved_implied": ("昨天搬到了北京！",),
    "zh.employer.at": ("我在协和医院工作。", "我目前在Google上班"),
    "zh.employer.at_implied": ("在一家设计公司上班。",),
    "zh.employer.joined": ("我刚入职了Google。", "我加入了一家创业公司"),
    "zh.employer.joined_implied": ("上个月入职了一家银行。",),
    "zh.job.am": ("我是一名护士。", "我是小学老师"),
    "zh.job.am_implied": ("是一名护士。",),
    "zh.birthday.is": ("我的生日是3月5日。", "我生日是五月一号"),
    "zh.birthday.is_implied": ("生日是3月5日。",),
    "zh.birthday.born": ("我1990年出生于成都。", "我出生于1990年"),
    "zh.birthday.born_implied": ("1990年5月出生。",),
    "zh.diet.am": ("我是素食主义者。", "我是一个素食者"),
    "zh.diet.am_implied": ("是严格的素食者。",),
    "zh.diet.eats": ("我开始吃素了。", "我只吃清真"),
    "zh.diet.eats_implied": ("最近开始吃素了。",),
    "zh.allergy.to": ("我对花生过敏。", "我对海鲜有点过敏", "我不对猫过敏"),
    "zh.allergy.to_implied": ("对花生严重过敏。",),
    "zh.statement.mine": ("我女儿很聪明。", "我的狗叫豆豆", "我妈妈住在广州"),
    "zh.statement.first_person": ("我养了一只猫。", "我喜欢爬山", "我以前住在深圳", "我在北京工作", "我想搬到杭州"),
    "zh.statement.implied": ("打算下个月去日本旅行。", "昨天和朋友一起去爬山", "买了一辆自行车"),
    "zh.statement.implied_taste": ("不喜欢吃香菜。",),
}

LEAVES: dict[str, tuple[str, ...]] = {
    "en.name.is": ("My name is on the list.", "My name isn't Maria.", "My sister's name is Maria."),
    "en.name.called": ("Call me tomorrow.", "You can call me later", "I'm called away a lot"),
    "en.age.years": ("My son is 5 years old.", "I'm not 34 years old", "I was 12 years old"),
    "en.age.number": ("I'm 5 minutes late.", "I'm 20 weeks pregnant", "I'm 100% sure"),
    "en.age.turned": ("I turned 18 in 2005.", "I turned 40 pages", "I'm turning 40 next week"),
    "en.home.live": (
        "I took my dog for a walk in NYC.",
        "I lived in Paris.",
        "I used to live in Paris",
        "I don't live in Paris",
        "I want to live in Paris",
        "My sister said, I live in Paris.",
        "When I live in Rome, I cook more",
        'She wrote: "I live in Rome."',
        "If I live in Rome, I will cook",
        "Do I live in Berlin?",
    ),
    "en.home.live_lowercase": ("I live in fear of spiders", "I live in a small flat"),
    "en.home.living": ("I was living in Oslo.", "I'm not living in Oslo"),
    "en.home.since": ("I've lived in Porto.", "I have never lived in Porto since I was born"),
    "en.home.moved": (
        "I moved to the couch.",
        "I want to move to Berlin",
        "I moved to Spain when I was 12",
        "When I was 12, I moved to Spain",
        "I'm moving to Berlin next month",
        "My brother moved to Berlin",
    ),
    "en.home.moved_implied": ("My brother is tired. Moved to Rome.", "Moved to tears by that film"),
    "en.employer.work": ("I work at home.", "I work at night", "I worked at Siemens", "I work for myself"),
    "en.employer.working": ("I'm working at home today.", "I was working at Siemens"),
    "en.employer.started": ("I started working at noon.", "I want to start working at Bosch"),
    "en.employer.joined": ("I joined a book club as a reader.", "I joined Facebook"),
    "en.employer.started_implied": ("My brother is happy. Got a job at Nokia.",),
    "en.job.work_as": ("I worked as a nurse.", "My wife works as a nurse"),
    "en.job.am": ("I'm a morning person.", "I'm a big fan of my teacher", "I'm not a doctor", "I was a nurse"),
    "en.job.became": ("I became a fan.", "My sister became a teacher"),
    "en.birthday.is": ("My birthday was great.", "My birthday is next week", "My son's birthday is March 3"),
    "en.birthday.born": ("I was born in Berlin.", "My son was born in March"),
    "en.diet.am": ("I'm not vegan.", "I like vegan food", "My sister is vegan", "I was vegan"),
    "en.diet.follow": ("I eat vegan snacks sometimes.", "I follow a vegan blog"),
    "en.allergy.to": ("My son is allergic to peanuts.", "Are you allergic to peanuts?"),
    "en.allergy.have": ("My son has a peanut allergy.",),
    "en.statement.first_person": (
        "I love the way you explained that.",
        "I really appreciate your help",
        "I'm fine, thanks.",
        "I'm sorry",
        "I see",
        "I think so",
        "I agree with that",
        "I'd like you to write a poem",
        "I need help with my essay",
        "I have a quick question",
        "I was wondering about trains",
        "I did.",
    ),
    "en.statement.my": ("Tell me my options are fine.", "Your sister lives in Porto"),
    "en.statement.implied": ("Met him.", "Walk me through the last step again"),
    "en.statement.touches_speaker": (
        "The weather in the mountains was really nice.",
        "Remind me about my appointment with the dentist",
        "It was so kind of you to call me again yesterday",
    ),
    "zh.name.called": ("我叫了外卖。", "我叫他来", "我叫不出名字", "我朋友叫王芳"),
    "zh.name.called_implied": ("我的狗很乖。叫豆豆。", "我养了一只橘猫，叫汤圆。", "我养了一只橘猫。叫汤圆。"),
    "zh.age.years": ("我5岁的时候学会了游泳。", "我儿子5岁"),
    "zh.age.years_implied": ("我女儿很聪明，今年5岁。", "我女儿很聪明。今年5岁。"),
    "zh.home.live": (
        "我朋友住在广州。",
        "我以前住在深圳",
        "你住在上海",
        "如果我住在北京就好了",
        "我这几天住在一家酒店",
    ),
    "zh.home.live_implied": ("我妈妈退休了，住在上海。", "小时候住在上海"),
    "zh.home.moved": ("我想搬到杭州。", "我打算搬去北京", "我搬到了窗户旁边", "我10岁的时候，搬到了重庆"),
    "zh.home.moved_implied": ("我哥哥结婚了，搬到了北京。",),
    "zh.employer.at": ("我在北京工作。", "我在家工作", "我在一家银行工作过"),
    "zh.employer.at_implied": ("我妻子很忙，在协和医院工作。",),
    "zh.employer.joined": ("我加入了一个读书会。",),
    "zh.employer.joined_implied": ("我妹妹很高兴，入职了一家银行。",),
    "zh.job.am": ("我是一个喜欢安静的人。", "我不是医生", "我妈妈是医生"),
    "zh.job.am_implied": ("我妈妈很忙，是一名护士。",),
    "zh.birthday.is": ("我妈妈的生日是3月5日。", "我的生日快到了"),
    "zh.birthday.is_implied": ("我女儿三岁，生日是3月5日。",),
    "zh.birthday.born": ("我女儿1990年出生。", "我出生在成都"),
    "zh.birthday.born_implied": ("我女儿很可爱，2020年出生。",),
    "zh.diet.am": ("我不是素食者。", "我姐姐是素食者"),
    "zh.diet.am_implied": ("我姐姐很瘦，是素食者。",),
    "zh.diet.eats": ("我不吃素。", "我朋友吃素"),
    "zh.diet.eats_implied": ("我姐姐病了，开始吃素了。",),
    "zh.allergy.to": ("我儿子对花生过敏。", "你对花生过敏吗？"),
    "zh.allergy.to_implied": ("我儿子很小，对花生过敏。",),
    "zh.statement.mine": ("你女儿很聪明。", "我女儿几岁上学合适呢"),
    "zh.statement.first_person": (
        "我喜欢你的解释。",
        "我很好。",
        "我也是",
        "我想问一个问题",
        "我需要你帮我翻译",
        "我觉得不对",
        "我该怎么办？",
        "谢谢！",
    ),
    "zh.statement.implied": ("请帮我写一封信。", "推荐一部电影", "提醒我明天开会", "明天天气怎么样？"),
    "zh.statement.implied_taste": ("喜欢你的回答。", "小明很挑食，不吃香菜。"),
}

RULES = [rule.name for grammar in (ENGLISH, CHINESE) for rule in grammar.slots + grammar.statements]


def turn(content: str, *, event_id: str = "e1", role: str = "user", name: str | None = None) -> WindowTurn:
    """One turn; what is said and by whom is what matters."""
    return WindowTurn(event_id, 0, role, name, content, SAID_AT, SAID_AT)


def facts(*turns: WindowTurn, context: tuple[WindowTurn, ...] = ()) -> list[Fact]:
    """What the extractor finds in one window."""
    window = Window(tenant="t", user_id="u", conversation_id="c", turns=list(turns), context=list(context))
    return asyncio.run(RulesExtractor().extract([window]))[0]


def found_by(text: str) -> list[str]:
    """Names of the rules that took something from a turn."""
    return [rule.name for rule, _ in _TurnReader(turn(text)).statements()]


def test_every_rule_has_examples_of_both_kinds() -> None:
    """A new rule must come with what it takes and what it leaves; names are unique."""
    assert len(RULES) == len(set(RULES))
    assert set(TAKES) == set(LEAVES) == set(RULES)


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in TAKES.items() for text in texts])
def test_a_rule_takes(rule: str, text: str) -> None:
    """What a rule is for, it takes, and no other rule takes it away."""
    assert rule in found_by(text)


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in LEAVES.items() for text in texts])
def test_a_rule_leaves(rule: str, text: str) -> None:
    """What only looks like it, a rule leaves alone."""
    assert rule not in found_by(text)


@pytest.mark.parametrize(
    "text",
    [
        "Thanks!",
        "Hello there",
        "Can you recommend a restaurant?",
        "do you know where I live",
        "Tell me about my options",
        "I love the way you explained that.",
        "If I lived in Berlin, I would bike.",
        "> I live in Berlin and I work at Siemens",
        "```\nI live in Berlin.\n```",
        "你好！",
        "谢谢你",
        "你能推荐一家餐厅吗",
        "请帮我写一封信",
        "我很好，谢谢",
        "ベルリンに住んでいます。",
        "Ich wohne in Berlin.",
        "",
        "...",
    ],
)
def test_nothing_is_found(text: str) -> None:
    """Questions, greetings, thanks, requests, quotes, hypotheses and other languages state no fact."""
    assert facts(turn(text)) == []


@pytest.mark.parametrize("role", ["assistant", "system", "tool", "Assistant", "bot"])
def test_machines_state_no_facts(role: str) -> None:
    """An assistant's words are never facts, named or not."""
    assert facts(turn("I live in Berlin.", role=role), turn("I'm 34.", role=role, name="Nova")) == []


def test_a_role_of_the_publishers_own_needs_a_name() -> None:
    """A role we do not know is a person's when the turn says who speaks."""
    assert facts(turn("I live in Berlin.", role="patient")) == []
    assert [fact.slot for fact in facts(turn("I live in Berlin.", role="patient", name="Ana"))] == ["home"]


def test_context_is_not_extracted_from() -> None:
    """Earlier turns are read along, and were extracted when it was their turn."""
    assert facts(context=(turn("I live in Berlin."),)) == []


def test_a_fact_is_readable_on_its_own() -> None:
    """The speaker's own words, with the name in front, since when they were said."""
    (fact,) = facts(turn("oh, and we live in Berlin!", event_id="e7", name="Maria"))
    assert fact == Fact(
        text="Maria: We live in Berlin.",
        source_event_ids=("e7",),
        slot="home",
        valid_from=SAID_AT,
        confidence_ratio=0.9,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "My name is Maria and I'm 34, so I live in Bonn now.",
            [("name", "My name is Maria."), ("age", "I'm 34."), ("home", "I live in Bonn now.")],
        ),
        ("I adopted a dog named Rex, who is brown.", [(None, "I adopted a dog named Rex, who is brown.")]),
        ("Thanks, Nova! Just moved to Berlin. Any tips?", [("home", "I just moved to Berlin.")]),
        (
            "I'm allergic to peanuts and shellfish, and I carry an EpiPen.",
            [("allergy:peanut shellfish", "I'm allergic to peanuts and shellfish."), (None, "I carry an EpiPen.")],
        ),
        ("我叫王芳，今年34岁，住在上海。", [("name", "我叫王芳。"), ("age", "我今年34岁。"), ("home", "我住在上海。")]),
        ("我女儿很聪明，今年5岁。", [(None, "我女儿很聪明，今年5岁。")]),
        ("你好！我对花生过敏，所以不吃花生酱", [("allergy:花生", "我对花生过敏。"), (None, "我不吃花生酱。")]),
        ("今天天气很好，我去了公园，买了冰淇淋。", [(None, "我去了公园，买了冰淇淋。")]),
        ("Ｉ live in Ｂerlin", [("home", "Ｉ live in Ｂerlin.")]),
    ],
)
def test_sentences_fall_into_facts(text: str, expected: list[tuple[str | None, str]]) -> None:
    """One clause with an attribute is one fact; what follows a statement without a subject of its own stays with it."""
    assert [(fact.slot, fact.text) for fact in facts(turn(text))] == expected


def test_a_second_allergy_has_a_slot_of_its_own() -> None:
    """Allergies add up: one slot for each substance, the same for its end."""
    slots = [
        fact.slot for fact in facts(turn("I'm allergic to peanuts. I'm allergic to cats. I'm not allergic to a cat."))
    ]
    assert slots == ["allergy:peanut", "allergy:cat", "allergy:cat"]


def test_a_statement_made_twice_is_one_fact_with_both_sources() -> None:
    """Repeating oneself within a window strengthens a fact and makes no second one."""
    (fact,) = facts(turn("I live in Berlin.", event_id="e1"), turn("As you know, I live in Berlin!", event_id="e2"))
    assert fact.source_event_ids == ("e1", "e2")


def test_the_same_words_of_two_people_are_two_facts() -> None:
    """Who says I is part of the statement."""
    assert len(facts(turn("I live in Berlin.", name="Ana"), turn("I live in Berlin.", name="Bo", event_id="e2"))) == 2


def test_pasted_text_is_no_statement() -> None:
    """A sentence without an end in sight is a log or a text, not something a person says."""
    assert facts(turn("I live in Berlin " + "and on " * MAX_SENTENCE_CHARACTERS)) == []


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(), st.sampled_from([text for texts in TAKES.values() for text in texts]))))
def test_facts_depend_on_their_own_turn_only(contents: list[str]) -> None:
    """Turns together give the facts they give alone, in order; and the same every time."""
    turns = [turn(content, event_id=str(i)) for i, content in enumerate(contents)]
    together = facts(*turns)
    assert together == facts(*turns)
    alone = {(fact.slot, fact.text.casefold()) for one in turns for fact in facts(one)}
    assert {(fact.slot, fact.text.casefold()) for fact in together} <= alone
    assert {source for fact in together for source in fact.source_event_ids} == {
        one.event_id for one in turns if facts(one)
    }
