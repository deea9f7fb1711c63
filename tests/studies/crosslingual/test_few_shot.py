"""Problems with examples in front: their lists, their texts, and how a line is read."""

import re
from collections import Counter
from fractions import Fraction

import pytest
from pydantic import ValidationError

from zscope.core.errors import DataError
from zscope.studies.crosslingual.config import SOURCE_SIZES, ProblemsConfig
from zscope.studies.crosslingual.patching.readouts import output_columns, read_text, stopping_rule
from zscope.studies.crosslingual.patching.sources import forced_stem, mismatched_partners
from zscope.studies.crosslingual.problems import chinese_numerals, english_numerals
from zscope.studies.crosslingual.problems.category_items import (
    CHOOSING,
    CLASSES,
    EXAMPLES,
    MEASURED,
)
from zscope.studies.crosslingual.problems.few_shot import (
    NUMBER_EXAMPLES,
    category_problems,
    number_word_problems,
)
from zscope.studies.crosslingual.problems.language import identify_language
from zscope.studies.crosslingual.problems.line_answers import extract_line_answer
from zscope.studies.crosslingual.problems.number_words import spell_chinese, spell_english
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, answer_kind, load_problems
from zscope.studies.crosslingual.problems.problem_rows import problem_rows, read_problems
from zscope.studies.crosslingual.tables import PROBLEMS
from zscope.tables.write import write_table

MAKERS = {"categories": category_problems, "number_words": number_word_problems}


def test_no_word_that_helped_to_choose_the_task_is_measured():
    for field in ("en", "zh"):
        words = [getattr(x, field) for x in (*EXAMPLES, *CHOOSING, *MEASURED)]
        assert [w for w, n in Counter(words).items() if n > 1] == []
    assert (len(EXAMPLES), len(CHOOSING), len(MEASURED)) == (14, 60, 112)
    assert Counter(x.category for x in MEASURED) == dict.fromkeys(CLASSES, 16)


def test_every_word_is_of_its_language_and_names_no_class():
    for item in (*EXAMPLES, *CHOOSING, *MEASURED):
        assert re.fullmatch("[A-Za-z -]+", item.en), item
        assert re.fullmatch("[\u4e00-\u9fff]+", item.zh), item
        assert item.category in CLASSES
        assert item.en not in CLASSES
        assert item.zh not in CLASSES.values()


def test_seven_examples_show_every_class_and_the_rest_are_in_another_order():
    first, second = ([x.category for x in part] for part in (EXAMPLES[:7], EXAMPLES[7:]))
    assert set(first) == set(second) == set(CLASSES)
    following = list(zip(first + second, (first + second)[1:], strict=False))
    assert len(set(following)) == len(following), "no class tells the next"


@pytest.mark.parametrize("n", [42, 100, 112])
def test_category_problems_are_balanced_and_their_answer_is_their_class(n):
    problems = category_problems(n, 3)
    assert len({p.id for p in problems}) == len(problems) == n
    sizes = Counter(p.category for p in problems)
    assert set(sizes) == set(CLASSES)
    assert max(sizes.values()) - min(sizes.values()) <= 1
    known = {(x.en, x.zh): x.category for x in MEASURED}
    for p in problems:
        assert p.answer == p.category == known[p.en.removesuffix(":"), p.zh.removesuffix("：")]
    # A mismatched source is of another class, which is another category.
    partners = mismatched_partners(problems, 0)
    assert all(partners.other_category)


def test_prompts_are_lines_of_examples_and_the_start_of_one():
    problem = next(p for p in category_problems(112, 0) if p.en == "fox:")
    en, zh = problem.prompt("en"), problem.prompt("zh")
    assert en.startswith("dog: animal\napple: fruit\nred: color\nFrance: country\n")
    assert zh.startswith("狗：动物\n苹果：水果\n")
    assert en.endswith("\ncoat: clothing\nfox:")
    assert zh.endswith("\n外套：衣服\n狐狸：")
    assert en.count("\n") == zh.count("\n") == 14
    problem = next(p for p in number_word_problems(164, 0) if p.answer == 42)
    assert problem.prompt("en").endswith(
        "\neight hundred and sixty-one = 861\nsix hundred and forty-eight = 648\nforty-two ="
    )
    assert problem.prompt("zh").endswith("\n六百四十八 = 648\n四十二 =")
    assert problem.prompt("en").startswith("sixty-four = 64\nthree hundred and five = 305\n")


@pytest.mark.parametrize("source", MAKERS)
def test_examples_are_the_same_in_front_of_all_and_ask_nothing_that_is_measured(source):
    problems = MAKERS[source](100, 1)
    for language in LANGUAGES:
        (examples,) = {p.examples(language) for p in problems}
        shown = {re.split(r"[:：=]", line)[0].strip() for line in examples.splitlines()}
        asked = {re.split(r"[:：=]", p.query(language))[0].strip() for p in problems}
        assert (len(shown), len(asked)) == (14, 100)
        assert not shown & asked
        for p in problems:
            assert p.prompt(language) == examples + p.query(language)
            assert forced_stem(language, p.kind) == "", "the prompt itself ends at the answer"


def test_numbers_are_spelt_as_the_parsers_read_them():
    for n in range(1, 1000):
        assert english_numerals.parse(spell_english(n)) == n
        assert chinese_numerals.parse(spell_chinese(n)) == n
        assert re.fullmatch(english_numerals.NUMERAL, spell_english(n))
    for n, en, zh in (
        (10, "ten", "十"),
        (12, "twelve", "十二"),
        (42, "forty-two", "四十二"),
        (205, "two hundred and five", "二百零五"),
        (210, "two hundred and ten", "二百一十"),
        (715, "seven hundred and fifteen", "七百一十五"),
    ):
        assert (spell_english(n), spell_chinese(n)) == (en, zh)
    for n in (0, 1000):
        with pytest.raises(ValueError, match="1 to 999"):
            spell_english(n)
        with pytest.raises(ValueError, match="1 to 999"):
            spell_chinese(n)


@pytest.mark.parametrize("n", [12, 99, 164])
def test_number_words_are_different_numbers_of_both_lengths(n):
    problems = number_word_problems(n, 2)
    assert len({p.answer for p in problems}) == n
    assert not {p.answer for p in problems} & set(NUMBER_EXAMPLES)
    for p in problems:
        assert p.category == {2: "two_digits", 3: "three_digits"}[len(str(p.answer))]
        assert english_numerals.parse(p.en.removesuffix(" =")) == p.answer
        assert chinese_numerals.parse(p.zh.removesuffix(" =")) == p.answer
    short = sum(p.category == "two_digits" for p in problems)
    assert abs(2 * short - n) <= 1


@pytest.mark.parametrize("source", MAKERS)
def test_the_seed_draws_them_and_their_number_has_limits(source):
    make, (low, high) = MAKERS[source], SOURCE_SIZES[source]
    assert make(60, 1) == make(60, 1)
    assert [p.id for p in make(60, 1)] != [p.id for p in make(60, 2)]
    assert len(make(low, 0)) == low
    assert len(make(high, 0)) == high
    for n in (low - 1, high + 1):
        with pytest.raises(DataError, match=f"{n} problems of source {source}.*{low} to {high}"):
            make(n, 0)
        with pytest.raises(ValidationError, match=f"{n} is not {low} to {high}"):
            ProblemsConfig(source=source, n=n)


@pytest.mark.parametrize("source", MAKERS)
def test_the_table_keeps_all_of_a_problem(tmp_path, source):
    problems = MAKERS[source](50, 0)
    write_table(problem_rows(problems), tmp_path / "problems.parquet", PROBLEMS, {})
    assert read_problems(tmp_path / "problems.parquet") == problems


def test_problems_of_several_kinds_are_never_answered_together():
    assert answer_kind(load_problems()) == "text_number"
    with pytest.raises(DataError, match="one kind"):
        answer_kind([*load_problems(), *category_problems(42, 0)])
    with pytest.raises(DataError, match="one kind"):
        answer_kind([])


# --- how a line is read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "finished", "status", "value"),
    [
        (" animal\ncat: animal", False, "ok", "animal"),
        (" animal", True, "ok", "animal"),
        ("动物\n", False, "ok", "animal"),
        (" 动物 \n", False, "ok", "animal"),
        (" body part\n", False, "ok", "body part"),
        # It may become "animals", or "body part".
        (" animal", False, "truncated", None),
        (" body", False, "truncated", None),
        ("交通", False, "truncated", None),
        ("", False, "truncated", None),
        (" body\n", False, "unclear", None),
        (" animals\n", False, "unclear", None),
        (" Animal\n", False, "unclear", None),
        (" animal, fruit\n", False, "unclear", None),
        (" not animal\n", False, "unclear", None),
        (" animal: 动物\n", False, "unclear", None),
        (" tool\n", False, "unclear", None),
        (" something else", False, "unclear", None),
        ("\nanimal\n", False, "none", None),
        ("", True, "none", None),
    ],
)
def test_a_class_is_all_of_the_line(text, finished, status, value):
    found = extract_line_answer(text, "line_class", finished=finished)
    assert (found.status, found.value) == (status, value)


@pytest.mark.parametrize(
    ("text", "finished", "status", "value"),
    [
        (" 42\nforty-three = 43", False, "ok", 42),
        (" 42", True, "ok", 42),
        ("４２\n", False, "ok", 42),
        (" 42", False, "truncated", None),
        (" ", False, "truncated", None),
        (" 42.5\n", False, "unclear", None),
        (" 4 2\n", False, "unclear", None),
        ("4²\n", False, "unclear", None),
        (" 1,042\n", False, "unclear", None),
        (" -42\n", False, "unclear", None),
        (" 40 + 2\n", False, "unclear", None),
        (" forty-two\n", False, "unclear", None),
        (" 42 or 43\n", False, "unclear", None),
        ("\n42", True, "none", None),
    ],
)
def test_a_number_is_all_of_the_line(text, finished, status, value):
    found = extract_line_answer(text, "line_number", finished=finished)
    assert (found.status, found.value) == (status, None if value is None else Fraction(value))


def test_a_class_in_the_other_language_is_the_answer_and_another_language():
    own = read_text(" animal\n", False, 1, True, "line_class")
    other = read_text("动物\n苹果：水果", False, 1, False, "line_class")
    assert (own.language, other.language) == ("en", "zh")
    assert own.answer == other.answer == "animal"
    columns = output_columns(other, own, "animal", "fruit")
    assert columns["answer"] == "animal"
    assert columns["correct"]
    assert columns["language_changed"]
    assert not columns["changed"]
    assert not columns["source_answer"]
    fruit = output_columns(
        read_text(" fruit\n", False, 1, False, "line_class"), own, "animal", "fruit"
    )
    assert fruit["changed"]
    assert fruit["source_answer"]
    assert not fruit["language_changed"]


def test_a_broken_line_is_no_answer_and_only_the_line_has_a_language():
    broken = read_text(" an" * 20 + "\n动物", False, 1, False, "line_class")
    assert (broken.answer, broken.degenerate, broken.language) == (None, True, "en")
    assert read_text(" 42\n四十三 = 43", False, 1, False, "line_number").language == "none"


@pytest.mark.parametrize("strict", [True, False])
def test_generation_stops_at_the_end_of_the_line(strict):
    stop = stopping_rule(strict, kind="line_class")
    assert not stop(" animal")
    assert stop(" animal\n")
    assert stop(" animal\ncat")


def test_class_names_show_their_language_from_one_letter_on():
    for en, zh in CLASSES.items():
        assert identify_language(en, min_letters=1) == "en"
        assert identify_language(zh, min_letters=1) == "zh"
