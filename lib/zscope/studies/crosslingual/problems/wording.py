"""The words of the generated arithmetic problems: templates, names, objects, distractors.

A template is filled with: `N`, `M` two names; `a`, `b`, `c` the operands; `An`, `Bn` operands
with the object they count ("1 apple"); `Ad`, `Bd` with dollars; `Ay`, `By` with years; `o` the
object (plural in English), `m` its Chinese measure word; `is_a` the verb that agrees with a; `t2`,
`t3` the second and third term of a sequence. What a template asks follows from the operands alone,
so any English template of a category goes with any Chinese one.
"""

from __future__ import annotations

# Chinese and English spellings of a pair need not be the same name: the pair is fixed.
NAMES = (
    ("Tom", "小明"),
    ("Anna", "小红"),
    ("Ben", "小刚"),
    ("Lily", "小丽"),
    ("Jack", "小强"),
    ("Mary", "小芳"),
)

# English singular (all take -s), Chinese, measure word.
OBJECTS = (
    ("apple", "苹果", "个"),
    ("book", "书", "本"),
    ("pencil", "铅笔", "支"),
    ("card", "卡片", "张"),
    ("flower", "花", "朵"),
    ("kite", "风筝", "只"),
    ("key", "钥匙", "把"),
    ("stone", "石头", "块"),
)

DISTRACTORS = {
    "en": (
        "It is a sunny day.",
        "The shop is near the park.",
        "Everyone is happy.",
        "School is over.",
    ),
    "zh": (
        "今天下雨了。",
        "老师正在休息。",
        "外面很安静。",
        "大家刚吃完饭。",
    ),
}

COMPLETIONS = {"en": " The answer is {}.", "zh": "答案是{}。"}

EN = {
    "add": (
        "{N} has {An} and {M} has {Bn}. How many {o} do they have together?",
        "{N} has {An} and buys {b} more. How many {o} does {N} have now?",
    ),
    "subtract": (
        "{N} has {An} and gives {b} to {M}. How many {o} does {N} have left?",
        "There {is_a} {An} in a box. {N} takes out {b}. How many {o} are left in the box?",
    ),
    "difference": (
        "{N} has {An} and {M} has {Bn}. How big is the difference?",
        "There {is_a} {An} on the table and {b} on the chair. How big is the difference?",
    ),
    "double": (
        "{N} has {An}. {M} has twice as many. How many {o} does {M} have?",
        "A box holds {An}. How many {o} do two such boxes hold?",
    ),
    "half": (
        "{N} has {An} and gives half of them to {M}. How many {o} does {M} get?",
        "There {is_a} {An} in a box. {N} takes out half of them. How many {o} does {N} take out?",
    ),
    "change": (
        "{N} buys {o} for {Bd} and pays with {Ad}. How many dollars does {N} get back?",
        "A meal costs {Bd}. {N} pays with {Ad}. How many dollars of change does {N} get?",
    ),
    "sequence": (
        "Look at the numbers {a}, {t2}, {t3}. Each number is {b} more than the one before. "
        "What is the next number?",
        "A list starts with {a}, {t2}, {t3} and goes up by {b} each time. Which number comes next?",
    ),
    "multiply": (
        "{N} has {a} bags with {Bn} in each bag. How many {o} does {N} have?",
        "There are {a} rows with {Bn} in each row. How many {o} are there?",
    ),
    "age": (
        "{N} is {Ay} old. How old will {N} be in {By}?",
        "{M} is {Ay} old and {N} is {By} older. How old is {N}?",
    ),
    "two_step": (
        "{N} has {An}, buys {b} more and gives {c} to {M}. How many {o} does {N} have now?",
        "A box holds {An}. {N} puts in {b} and {M} takes out {c}. How many {o} are in the box now?",
    ),
}

ZH = {
    "add": (
        "{N}有{a}{m}{o}，{M}有{b}{m}{o}。他们一共有多少{m}{o}？",
        "{N}有{a}{m}{o}，又买了{b}{m}。{N}现在有多少{m}{o}？",
    ),
    "subtract": (
        "{N}有{a}{m}{o}，送给{M}{b}{m}。{N}还剩多少{m}{o}？",
        "盒子里有{a}{m}{o}，{N}拿走了{b}{m}。盒子里还剩多少{m}{o}？",
    ),
    "difference": (
        "{N}有{a}{m}{o}，{M}有{b}{m}{o}。他们的{o}相差多少{m}？",
        "桌上有{a}{m}{o}，椅子上有{b}{m}{o}。两处的{o}相差多少{m}？",
    ),
    "double": (
        "{N}有{a}{m}{o}，{M}的{o}数量是{N}的两倍。{M}有多少{m}{o}？",
        "一个盒子装{a}{m}{o}。两个这样的盒子装多少{m}{o}？",
    ),
    "half": (
        "{N}有{a}{m}{o}，送给{M}一半。{M}得到多少{m}{o}？",
        "盒子里有{a}{m}{o}，{N}拿走了一半。{N}拿走了多少{m}{o}？",
    ),
    "change": (
        "{N}买{o}用了{b}元，付了{a}元。应找回多少元？",
        "一份午饭{b}元，{N}付了{a}元。应找给{N}多少元？",
    ),
    "sequence": (
        "看这些数：{a}、{t2}、{t3}，每个数比前一个多{b}。下一个数是多少？",
        "一列数从{a}、{t2}、{t3}开始，每次增加{b}。接下来的数是多少？",
    ),
    "multiply": (
        "{N}有{a}个袋子，每个袋子里有{b}{m}{o}。{N}有多少{m}{o}？",
        "这里有{a}排{o}，每排有{b}{m}。一共有多少{m}{o}？",
    ),
    "age": (
        "{N}今年{a}岁。{b}年后{N}多少岁？",
        "{M}今年{a}岁，{N}比{M}大{b}岁。{N}今年多少岁？",
    ),
    "two_step": (
        "{N}有{a}{m}{o}，又买了{b}{m}，送给{M}{c}{m}。{N}现在有多少{m}{o}？",
        "盒子里有{a}{m}{o}，{N}放进{b}{m}，{M}拿走{c}{m}。盒子里现在有多少{m}{o}？",
    ),
}

TEMPLATES = {"en": EN, "zh": ZH}
