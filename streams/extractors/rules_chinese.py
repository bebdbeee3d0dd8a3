"""Chinese rules: the same statements and attributes, with and without a subject.

Chinese leaves the first person out where it is clear. So every attribute has two rules: one with 我, and one without a
subject, which holds only while the clauses before were about the speaker; its fact gets a 我 in front, to be readable
on its own.
"""

import re
from itertools import chain

from streams.extractors.rule_table import Drop, Grammar, Rule, Subject

_DAY = (
    r"(?:[今昨前明后]天|[今去明前]年|(?:上|下|这)个?(?:周末?|星期|月)[一二三四五六日天]?|周末"
    r"|\d{4}年(?:\d{1,2}月)?(?:\d{1,2}[日号])?|\d{1,2}月(?:\d{1,2}[日号])?"
    r"|[\d一二两三四五六七八九十几半]+(?:天|周|个月|年)前)"
)
_WHEN = rf"(?:(?:{_DAY}|现在|目前|如今|刚刚?|最近|已经|终于|一直|正式|其实|就|也|都|还)[,]?)*"
"""When it is so, and adverbs that leave it true today; 以前 and 曾经 (once) are none of them."""
_I = r"(?:我们?|本人|咱们?)"
_KIN = (
    r"(?:的|家[里人的]|妈|爸|父|母|爷|奶|外公|外婆|姥|哥|姐|弟|妹|儿|女[儿友]|[男女]朋友|男友|孩子|宝宝|老公|老婆|丈夫|妻|先生"
    r"|太太|朋友|同[事学]|室友|邻居|老板|领导|叔|姑|舅|姨|[表堂][哥姐弟妹])"
)
"""What makes 我 a possessive: the clause is about them, not about the speaker."""
_LATIN = r"[A-Za-z][\w&.'-]*"
_NAME = rf"(?:[\u4e00-\u9fff·]{{1,3}}[^\W来去走过了吧]|{_LATIN})"
_CALLED_OUT = r"(?:[了他她它你您人车不]|外卖|滴滴|出租)"
"""叫 also means to call somebody or order something."""
_NUMBER = r"(?:\d{1,3}|[一二三四五六七八九十]{1,4})"
_MONTH = r"(?:\d{1,2}|[一二三四五六七八九十正腊]{1,2})月"
_STOP = r"(?=[。!~ ]*$)"
_ELSEWHERE = (
    r"(?:北京|上海|广州|深圳|杭州|成都|重庆|武汉|南京|天津|西安|苏州|长沙|青岛|香港|台北|澳门|东京|纽约|伦敦|巴黎|柏林|新加坡"
    r"|国内|国外|海外|家|外面|外地|那里|那儿|这里|这儿|\S{1,4}[省市县区镇村])"
)
"""Where one works, not for whom. It is not complete, so a company needs a suffix, a Latin name or a verb like 入职."""
_COMPANY = (
    rf"(?:{_LATIN}|[^,。在了]{{1,14}}(?:公司|集团|银行|医院|大学|学院|中学|小学|学校|幼儿园|研究[所院]|工厂|事务所|律所"
    r"|出版社|报社))"
)
_OCCUPATION = (
    r"(?:医生|护士|老师|教师|教授|律师|程序员|工程师|设计师|会计师?|厨师|司机|记者|编辑|作家|画家|音乐家|摄影师|建筑师|翻译"
    r"|学生|研究生|博士生|大学生|研究员|科学家|经理|公务员|销售|警察|军人|农民|工人|演员|歌手|导游|药剂师|牙医|兽医|理发师"
    r"|咨询师|分析师|飞行员|消防员|快递员|服务员|自由职业者|教练)"
)
_DOES = (
    r"(?:搬|换|买|养|去|吃|看|学|考|参加|开始|完成|辞职|入职|毕业|结婚|离婚|订婚|生|怀孕|认识|加入|报名|拿到|收到|收养|领养"
    r"|做|写|跑|爬|骑|画|拍|住|请|失去|丢|卖|订|到|回)"
)


def _rule(
    name: str,
    pattern: str,
    confidence_ratio: float,
    *,
    slot: str | None = None,
    subject: Subject = "speaker",
) -> Rule:
    return Rule(
        name=f"zh.{name}",
        pattern=re.compile(pattern),
        subject=subject,
        slot=slot,
        template="我{clause}。" if subject == "implied" else "{clause}。",
        confidence_ratio=confidence_ratio,
    )


def _with_and_without_subject(name: str, slot: str, predicate: str, confidence_ratio: float) -> tuple[Rule, Rule]:
    return (
        _rule(name, rf"{_WHEN}{_I}{_WHEN}{predicate}", confidence_ratio, slot=slot),
        _rule(
            f"{name}_implied", rf"{_WHEN}{predicate}", round(confidence_ratio - 0.2, 2), slot=slot, subject="implied"
        ),
    )


def _drop(name: str, pattern: str) -> Drop:
    return Drop(name=f"zh.{name}", pattern=re.compile(pattern))


_SLOTS = tuple(
    chain.from_iterable(
        _with_and_without_subject(*row)
        for row in (
            (
                "name.called",
                "name",
                rf"(?:的?名字[是叫]|叫做?|是叫|名叫)(?!{_CALLED_OUT}){_NAME}{_STOP}",
                0.9,
            ),
            ("age.years", "age", rf"(?:刚?满|快|都)?{_NUMBER}岁[了多啦]*{_STOP}", 0.9),
            ("home.live", "home", r"(?:家)?(?:住在|定居在?)(?!\S*(?:酒店|宾馆|民宿|医院|朋友家))\S", 0.9),
            (
                "home.moved",
                "home",
                r"(?:从[^,。]+?)?搬[到去来回]了?(?!一起|\S*(?:旁边|桌|椅|楼[上下]|屋里))[^了,。]",
                0.85,
            ),
            (
                "employer.at",
                "employer",
                rf"在(?!{_ELSEWHERE}[工上任]){_COMPANY}(?:工作|上班|任职|就职|教书)(?!过)",
                0.9,
            ),
            ("employer.joined", "employer", rf"(?:入职|加入|跳槽到|[就任供]职于)了?{_COMPANY}", 0.85),
            ("job.am", "job", rf"(?:是|当|做)了?(?:一?[名个位])?[^,。我你他她的]{{0,6}}?{_OCCUPATION}了?{_STOP}", 0.85),
            ("birthday.is", "birthday", rf"的?生日(?:是|在)(?:农历|阴历|阳历)?(?:\d{{2,4}}年)?{_MONTH}", 0.95),
            (
                "birthday.born",
                "birthday",
                rf"(?:是?\d{{4}}年(?:{_MONTH})?(?:\d{{1,2}}[日号])?出?生|(?:出)?生[于在]\d{{4}}年)",
                0.9,
            ),
            ("diet.am", "diet", rf"(?:是|成了)一?[个名]?(?:严格的?)?(?:素食主义者|素食者|纯素者|纯素){_STOP}", 0.9),
            ("diet.eats", "diet", rf"(?:开始|只|改)?吃(?:[全纯]?素|清真)[食了的]*{_STOP}", 0.85),
            (
                "allergy.to",
                "allergy:{value}",
                r"(?:不再|不)?对(?P<value>[^,。你您]{1,12}?)(?:严重|有点|有些|[也都会不])*过敏",
                0.9,
            ),
        )
    )
)

_STATEMENTS = (
    _rule("statement.mine", rf"{_WHEN}(?:我们?|咱们?){_KIN}\S", 0.55, subject="other"),
    _rule("statement.first_person", rf"{_WHEN}(?:以前|之前|曾经|后来|小时候|从小)?{_I}\S\S", 0.6),
    _rule(
        "statement.implied",
        rf"(?:{_DAY}|刚刚?|最近|已经|终于|以前|后来|打算|计划|准备|决定)[,]?{_WHEN}"
        rf"(?:和\S{{1,8}}一起|跟\S{{1,8}}|在\S{{1,10}}|打算|准备|计划|决定|不再?)*{_DOES}\S|{_DOES}\S{{0,4}}[了过]\S",
        0.45,
        subject="implied",
    ),
    _rule(
        "statement.implied_taste",
        r"(?:从来|一直|特别|最)?(?:不?喜欢|讨厌|不吃|不喝|最爱|受不了|害怕)[^你您]\S",
        0.45,
        subject="implied",
    ),
)

_SENTENCE_DROPS = (
    _drop("question", r"\?[\"'”’」』)\s]*$"),
    _drop(
        "question.unmarked",
        r"[吗么呢][。!~ ]*$|是不是|能不能|可不可以|有没有|会不会|要不要|好不好"
        r"|^(?:请问|谁|什么|为什么|怎么|哪|几点|多少|如何)",
    ),
    _drop("hypothetical", r"^(?:如果|假如|要是|假设|万一|倘若|比如|除非)"),
    _drop("reported", r"(?:说|问|告诉我|写道|回答)\s*[,:]"),
)

_CLAUSE_DROPS = (
    _drop(
        "request",
        r"^(?:请|帮|麻烦|给我|告诉|提醒|让我|教我|推荐|解释|总结|列出|别|不要|记得)|帮我|请问|提醒我|告诉我"
        r"|我(?:们)?(?:想|要)(?:问|知道|请|了解)|我需要(?:你|帮助)|我希望你",
    ),
    _drop("reaction", r"[你您]|^(?:谢谢|感谢|多谢|我(?:也|很|非常|真)?(?:同意|喜欢这个|喜欢这样|感谢|谢谢))"),
    _drop(
        "state",
        rf"^我(?:也是|很好|还好|挺好的?|不错|没事|可以|行|好了|来了|在|懂了?|明白了?|知道了?|不知道|理解|猜|回来了|累了){_STOP}"
        r"|^我(?:觉得|认为|猜|怀疑|不知道|不明白|不懂|记得)",
    ),
)

CHINESE = Grammar(
    opening=re.compile(
        r"(?:(?:你好|您好|大家好|嗨|哈喽|早上好|早安|中午好|下午好|晚上好|谢谢[你您]?|多谢|好的?|嗯+|哦|啊|对了?|是的|没错|其实"
        r"|说实话|顺便说一?下?|另外|而且|还有|不过|但是?|可是|所以|因为|然后|那么?|哈哈+)[,!:。~ ]+"
        r"|(?:而且|不过|但是?|可是|所以|然后|其实|另外|还有|因为))+"
    ),
    preface=re.compile(r"[^,。]{1,12}(?:时候?|那年),"),
    border=re.compile(r"\s*[,;]\s*"),
    adverbial=re.compile(""),  # the rules say for themselves where a day may and where it must stand
    sentence_drops=_SENTENCE_DROPS,
    clause_drops=_CLAUSE_DROPS,
    slots=_SLOTS,
    statements=_STATEMENTS,
    named="{name}：{text}",
)
