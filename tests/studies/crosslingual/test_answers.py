"""Numbers and languages are read from texts as a careful reader would."""

from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from zscope.studies.crosslingual.problems.answers import (
    Answer,
    extract_answer,
    identify_language,
    is_degenerate,
)
from zscope.studies.crosslingual.problems.chinese_numerals import parse

GOLDEN = yaml.safe_load((Path(__file__).parent / "golden" / "answers.yaml").read_text("utf-8"))


def numeral(n: int) -> str:
    """The full Chinese numeral of 0 <= n < 10**8, written down by the rule for zeros."""
    digits = "零一二三四五六七八九"
    if n == 0:
        return "零"
    if n >= 10**4:
        high, low = divmod(n, 10**4)
        return numeral(high) + "万" + (("零" if low < 1000 else "") + numeral(low) if low else "")
    out, gap = "", False
    for size, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, n = divmod(n, size)
        if digit:
            out += ("零" if gap and out else "") + digits[digit] + unit
        gap = digit == 0
    return out


def test_there_are_enough_golden_cases_of_every_kind():
    assert len(GOLDEN) >= 60
    assert len({case["text"] for case in GOLDEN}) == len(GOLDEN)
    assert {case.get("status", "ok") for case in GOLDEN} == {"ok", "none", "multiple", "truncated"}
    languages = [case["language"] for case in GOLDEN]
    assert min(languages.count("en"), languages.count("zh")) >= 25
    assert {"mixed", "none"} <= set(languages)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["text"])
def test_golden(case):
    got = extract_answer(case["text"], finished=not case.get("unfinished", False))
    value = None if case["value"] is None else Fraction(case["value"])
    assert (got.value, got.status) == (value, case.get("status", "ok"))
    assert identify_language(case["text"], min_letters=1) == case["language"]


@given(st.integers(0, 10**8 - 1))
def test_chinese_numerals_mean_what_they_spell(n):
    assert parse(numeral(n)) == n


@pytest.mark.parametrize("text", ["", "点五", "三点", "一二十", "苹果", "三十四五"])
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
    assert (answer.value is None) == (answer.status in ("none", "truncated"))
    assert identify_language(text, min_letters=5) in ("en", "zh", "mixed", "none", "undetermined")


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
