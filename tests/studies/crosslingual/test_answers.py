"""Numbers and languages are read from texts as a careful reader would."""

from fractions import Fraction
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from zscope.studies.crosslingual.problems import english_numerals
from zscope.studies.crosslingual.problems.answers import (
    Answer,
    Status,
    answer_part,
    extract_answer,
    goes_on,
)
from zscope.studies.crosslingual.problems.chinese_numerals import parse
from zscope.studies.crosslingual.problems.language import identify_language, is_degenerate

GOLDEN = yaml.safe_load((Path(__file__).parent / "golden" / "answers.yaml").read_text("utf-8"))


def numeral(n: int) -> str:
    """The full Chinese numeral of 0 <= n < 10**20, written down by the rule for zeros."""
    digits = "零一二三四五六七八九"
    if n == 0:
        return "零"
    for size, unit in ((10**8, "亿"), (10**4, "万")):
        if n >= size:
            high, low = divmod(n, size)
            zero = "零" if low < size // 10 else ""
            return numeral(high) + unit + (zero + numeral(low) if low else "")
    out, gap = "", False
    for size, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, n = divmod(n, size)
        if digit:
            out += ("零" if gap and out else "") + digits[digit] + unit
        gap = digit == 0
    return out


def test_there_are_enough_golden_cases_of_every_kind():
    assert len(GOLDEN) >= 180
    assert len({case["text"] for case in GOLDEN}) == len(GOLDEN)
    assert {case.get("status", "ok") for case in GOLDEN} == set(get_args(Status))
    languages = [case["language"] for case in GOLDEN]
    assert min(languages.count("en"), languages.count("zh")) >= 25
    assert {"mixed", "none"} <= set(languages)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["text"])
def test_golden(case):
    got = extract_answer(case["text"], finished=not case.get("unfinished", False))
    value = None if case["value"] is None else Fraction(case["value"])
    assert (got.value, got.status) == (value, case.get("status", "ok"))
    assert identify_language(case["text"], min_letters=1) == case["language"]


LARGE = st.integers(0, 16).flatmap(lambda size: st.integers(0, 10**size))


@given(LARGE | st.builds(lambda n, size: n * 10**size, st.integers(1, 99), st.integers(0, 14)))
@example(10**16)
@example(360_000_000)
@example(3 * 10**12)
def test_chinese_numerals_mean_what_they_spell(n):
    assert parse(numeral(n)) == n
    assert extract_answer(f"答案是{numeral(n)}。") == Answer(Fraction(n), "ok", True)
    assert extract_answer(f"答案是{numeral(n)}个。") == Answer(Fraction(n), "ok", True)


@given(st.integers(0, 9), st.integers(1, 9), st.sampled_from("百千万亿"))
def test_a_last_digit_without_its_unit_is_a_tenth_of_it(high, low, unit):
    size = {"百": 100, "千": 1000, "万": 10**4, "亿": 10**8}[unit]
    digits = "零一二三四五六七八九"
    high = high or 1
    for text in (
        f"{digits[high]}{unit}{digits[low]}",
        f"{high}{unit}{low}",
        f"{high}{unit}{digits[low]}",
    ):
        assert parse(text) == high * size + low * size // 10


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["", "十", "百", "万"]))
def test_two_digits_side_by_side_are_a_range(a, b, unit):
    text = "零一二三四五六七八九"[a] + "零一二三四五六七八九"[b] + unit
    assert parse(text) is None
    assert extract_answer(f"答案是{text}个。").status != "ok"


def in_english(n: int) -> str:
    for size, word in (
        (10**9, "billion"),
        (10**6, "million"),
        (1000, "thousand"),
        (100, "hundred"),
    ):
        if n >= size:
            high, low = divmod(n, size)
            return f"{in_english(high)} {word}" + (f" and {in_english(low)}" if low else "")
    words = {v: k for k, v in (english_numerals.ONES | english_numerals.TENS).items()}
    return words.get(n) or f"{words[n - n % 10]}-{words[n % 10]}"


@given(st.integers(0, 12).flatmap(lambda size: st.integers(0, 10**size - 1)))
def test_english_numerals_mean_what_they_spell(n):
    assert english_numerals.parse(in_english(n)) == n
    assert extract_answer(f"The answer is {in_english(n)}.") == Answer(Fraction(n), "ok", True)


@pytest.mark.parametrize(
    "text",
    [
        "two three",
        "twenty thirty",
        "twenty eleven",
        "hundred",
        "two million three million",
        "ten ten",
    ],
)
def test_what_is_no_english_numeral(text):
    assert english_numerals.parse(text) is None
    assert extract_answer(f"The answer is {text}.").status != "ok"


@pytest.mark.parametrize(
    "text", ["", "点五", "三点", "一二十", "苹果", "三十四五", "百", "万", "一千零", "三万亿五千亿"]
)
def test_what_is_no_chinese_numeral(text):
    assert parse(text) is None


@given(st.integers(-(10**9), 10**9), st.integers(0, 99))
def test_a_written_number_is_read_back(n, cents):
    value = abs(n) + Fraction(cents, 100)
    value = -value if n < 0 else value
    written = f"{'-' if n < 0 else ''}{abs(n):,}.{cents:02d}"
    assert extract_answer(f" The answer is {written}.") == Answer(value, "ok", True)
    assert extract_answer(f"答案是{written.replace('-', '−')}。") == Answer(value, "ok", True)


@given(st.text(max_size=60))
def test_any_text_has_some_answer_and_language(text):
    answer = extract_answer(text)
    assert answer.value is not None or answer.status not in ("ok", "multiple")
    assert answer.value is None or answer.status not in ("none", "truncated")
    assert identify_language(text, min_letters=5) in ("en", "zh", "mixed", "none", "undetermined")


# --- every way to write a number: read as itself, or not certain ----------------------------------

NUMBERS = st.one_of(
    st.integers(-(10**7), 10**7).map(lambda n: (str(n), Fraction(n))),
    st.integers(0, 10**9).map(lambda n: (f"{n:,}", Fraction(n))),
    st.builds(
        lambda n, c: (f"{n:,}".replace(",", c), Fraction(n)),
        st.integers(0, 10**9),
        st.sampled_from(" '’\u00a0\u2009\u202f"),
    ),
    st.builds(
        lambda n, d: (f"{n}.{d:03d}", n + Fraction(d, 1000)),
        st.integers(0, 999),
        st.integers(0, 999),
    ),
    st.builds(
        lambda w, n, d, form: (form.format(w=w or "", n=n, d=d + n), w + Fraction(n, d + n)),
        st.integers(1, 99),
        st.integers(1, 9),
        st.integers(1, 9).filter(lambda d: d < 10),
        st.sampled_from(
            [
                r"{w}\frac{{{n}}}{{{d}}}",
                r"{w}\dfrac{{{n}}}{{{d}}}",
                "{w} {n}/{d}",
                "{w}又{d}分之{n}",
            ]
        ),
    ),
    st.builds(
        lambda n, d, form: (form.format(n=n, d=d), Fraction(n, d)),
        st.integers(-99, 99),
        st.integers(1, 99),
        st.sampled_from([r"\frac{{{n}}}{{{d}}}", r"\cfrac {{{n}}} {{{d}}}", "{n}/{d}"]),
    ),
    st.builds(
        lambda n, e, form: (form.format(n=n, e=e), Fraction(n) * 10**e),
        st.integers(1, 99),
        st.integers(0, 12),
        st.sampled_from([r"{n}\times 10^{{{e}}}", "{n}e{e}", "{n} x 10^{e}", "{n}E+{e}"]),
    ),
    st.builds(
        lambda n, w: (f"{n} {w[0]}", Fraction(n) * w[1]),
        st.integers(1, 999),
        st.sampled_from(
            [("thousand", 1000), ("million", 10**6), ("dozen", 12), ("percent", Fraction(1, 100))]
        ),
    ),
    st.builds(
        lambda n, w: (f"{n}{w[0]}", Fraction(n) * w[1]),
        st.integers(1, 999),
        st.sampled_from([("万", 10**4), ("亿", 10**8), ("%", Fraction(1, 100))]),
    ),
    st.builds(lambda h, m: (f"{h}:{m:02d}", None), st.integers(0, 23), st.integers(0, 59)),
    st.builds(
        lambda a, b, u: (f"{a}{u[0]}{b}{u[1]}", None),
        st.integers(1, 99),
        st.integers(1, 59),
        st.sampled_from(
            [
                ("元", "角"),
                ("小时", "分"),
                (" hours ", " minutes"),
                (" feet ", " inches"),
                ("米", "厘米"),
            ]
        ),
    ),
    st.builds(
        lambda a, b, op: (f"{a}{op}{b}", None),
        st.integers(1, 99),
        st.integers(1, 59),
        st.sampled_from(
            ["-", " - ", "–", "^", " × ", "+", " to ", "到", "~", " or ", r"\sqrt{2}", "**", ":"]
        ),
    ),
)


@pytest.mark.parametrize(
    "sentence", ["The answer is {}.", "答案是{}。", "\\boxed{{{}}}", "So it = {}", "{}"]
)
@given(number=NUMBERS)
def test_a_number_is_read_whole_or_not_certain(sentence, number):
    written, value = number
    got = extract_answer(sentence.format(written))
    assert got.status != "ok" or got.value == value, (written, got)


@pytest.mark.parametrize("sentence", ["The answer is {}.", "答案是{}。", "\\boxed{{{}}}"])
@given(number=NUMBERS, end=st.integers(1, 12))
def test_a_text_that_stops_inside_a_number_is_not_certain(sentence, number, end):
    """Any prefix of the answer, cut by the limit of tokens."""
    written, value = number
    whole = sentence.format(written)
    cut = whole[: whole.index(written) + min(end, len(written))]
    got = extract_answer(cut, finished=False)
    assert got.status != "ok" or got.value == value


# --- a new problem -------------------------------------------------------------------------------

ANSWERS = [
    "The answer is 59.",
    "答案是59。",
    r"So \boxed{59}",
    "Answer: 59",
    "答：59个。",
    "#### 59",
]
OTHERS = [
    "The store has 59 footballs.",
    "50-18=32, 32+27=59",
    "59",
    "一共有五十九个。",
    "I do not know.",
    "",
]
LABELS = [
    *("\n\nQuestion: ", "\nQ: ", "\n\n**Question 2:** ", "\n### Problem\n", "\n\nExample 3:\n"),
    *(
        "\n2. Question: ",
        "\nUser: ",
        "\n\nAnother question: ",
        " Question: ",
        "\nQ2. ",
        "\nInput: ",
    ),
    *("\n题目：", "\n\n题目2：", "\n问：", "\n【问题】", "\n例2：", "\n\n第2题：", "\n下一题："),
    *("<|im_end|>\n", "</s>", "\n思考题："),
]
STORIES = [
    "Ann has 3 pens and buys 4. How many pens?\nAnswer: 3+4=7",
    "小明有3支笔，又买了4支。他有多少支笔？\n答案是7。",
    "Ann has three pens. How many does she have?",
    "A box holds 12. How many do 5 boxes hold? The answer is 60.",
]  # fmt: skip


@given(
    st.sampled_from(ANSWERS + OTHERS),
    st.sampled_from(LABELS),
    st.sampled_from(STORIES) | st.text(max_size=30),
)
def test_a_labelled_problem_behind_an_answer_is_not_read(answer, label, story):
    assert extract_answer(answer + label + story) == extract_answer(answer)
    assert answer_part(answer + label + story).strip() == answer.strip()
    assert goes_on(answer + label)


@given(
    st.sampled_from(ANSWERS),
    st.sampled_from(["\n\n", "\n \n", "\n\n2. ", "\n(2) "]),
    st.sampled_from(STORIES),
)
def test_a_question_behind_a_final_answer_is_not_read(answer, gap, story):
    assert extract_answer(answer + gap + story) == extract_answer(answer)
    assert goes_on(answer + gap + story)


@given(st.sampled_from(OTHERS), st.sampled_from(["\n\n", "\n\n2. "]), st.sampled_from(STORIES))
def test_a_question_behind_any_other_text_gives_no_other_number(answer, gap, story):
    alone, both = extract_answer(answer), extract_answer(answer + gap + story)
    assert alone.status == "none" or both.status != "ok" or both.value == alone.value


@pytest.mark.parametrize(
    "text",
    [
        "To answer the question: 50-18+27=59",
        "题目中给出50和18，答案是59。",
        "Step 1: 50-18=32\n\nHow many now?\n\nStep 2: 32+27=59",
        "1. 50-18=32\n2. 32+27=59\nThe answer is 59.",
        "The answer is 58.\n\nWait, how many arrive? 27. The answer is 59.",
    ],
)
def test_what_begins_no_new_problem(text):
    assert not goes_on(text)
    assert extract_answer(text) == Answer(Fraction(59), "ok", True)


@given(
    st.sampled_from(ANSWERS),
    st.integers(0, 99),
    st.sampled_from(
        [
            "Actually, it is {}.",
            "No, {}.",
            "不对，是{}。",
            "So there are {}.",
            "Then {} = {}.",
            "一共{}个。",
        ]
    ),
)
def test_a_later_number_contradicts_the_answer(answer, n, later):
    got = extract_answer(f"{answer} {later.format(n, n)}")
    assert (got.status == "ok") == (n == 59)


def test_the_fallback_is_flagged():
    assert extract_answer("The answer is 12.").anchored
    assert extract_answer("5+7=12").anchored
    assert not extract_answer("12 apples").anchored


def test_a_few_letters_do_not_make_a_language():
    assert identify_language("答案是12。", min_letters=5) == "undetermined"
    assert identify_language("答案就是12。", min_letters=4) == "zh"
    assert identify_language("12 = 12", min_letters=5) == "none"


@pytest.mark.parametrize(
    "text", ["答案是12。" * 4, " The answer is 12." * 4, "12 " * 8, "哈" * 20, "a\nb\n" * 6]
)
def test_loops_are_degenerate(text):
    assert is_degenerate(text)
    assert is_degenerate("First, something else. " + text)


@pytest.mark.parametrize(
    "text",
    ["", " The answer is 12.", "答案是12。" * 2, "0." + "3" * 40, "10" + "0" * 30, "哈哈哈哈哈"],
)
def test_what_is_no_loop(text):
    assert not is_degenerate(text)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("5+7=12=13", "multiple"),
        ("The answer is 5+7=12=13.", "multiple"),
        ("答案是5加7等于12等于13。", "multiple"),
        ("x = 3 = 4", "multiple"),
        ("3+4=7=7", "ok"),
        ("x = 12 = 3*4 = 12", "ok"),
        ("The total is 3+4+5 = 7+5 = 12.", "ok"),
        ("1/2=0.5", "ok"),
    ],
)
def test_a_chain_of_unequal_numbers_is_never_certain(text, status):
    assert extract_answer(text).status == status
