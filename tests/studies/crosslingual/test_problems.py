"""Problems say the same in both languages, have the right answers and a clean split."""

import ast
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from pydantic import ValidationError

from zscope.core.errors import DataError
from zscope.studies.crosslingual.config import ProblemsConfig
from zscope.studies.crosslingual.patching.sources import mismatched_partners
from zscope.studies.crosslingual.problems.answers import extract_answer
from zscope.studies.crosslingual.problems.language import identify_language
from zscope.studies.crosslingual.problems.measured import measured_problems
from zscope.studies.crosslingual.problems.parallel import (
    CATEGORIES,
    LANGUAGES,
    category_counts,
    generate,
    is_held_out,
    load_problems,
    operand_tuples,
    read_rows,
)
from zscope.studies.crosslingual.problems.problem_rows import problem_rows, read_problems
from zscope.studies.crosslingual.problems.wording import DISTRACTORS, NAMES, OBJECTS, TEMPLATES
from zscope.studies.crosslingual.tables import PROBLEMS
from zscope.tables.write import write_table

BINARY = ("add", "subtract", "difference", "sequence", "age")
N = 4000


@pytest.fixture(scope="module")
def train():
    return generate(N, 1, held_out=False)


@pytest.fixture(scope="module")
def held():
    return generate(N, 1, held_out=True)


def numbers(text):
    return [int(n) for n in re.findall(r"\d+", text)]


def solve(category, text):
    """The answer from the numbers as a reader of the text meets them, not from the operands."""
    n = numbers(text)
    if category == "change":
        return max(n) - min(n)
    if category == "sequence":
        assert n[1] - n[0] == n[2] - n[1] == n[3]
        return n[2] + n[3]
    if category == "difference":
        return max(n) - min(n)
    return {
        "add": lambda a, b: a + b,
        "age": lambda a, b: b + a,
        "subtract": lambda a, b: a - b,
        "double": lambda a: a + a,
        "half": lambda a: a - a / 2,
        "multiply": lambda a, b: sum([b] * a),
        "two_step": lambda a, b, c: (a + b) - c,
    }[category](*n)


def template_of(language, problem):
    """Index of the template that the text was made from."""
    text = getattr(problem, language)
    patterns = [
        re.sub(r"\\\{[A-Za-z0-9_]+\\\}", ".+", re.escape(t))
        for t in TEMPLATES[language][problem.category]
    ]
    fits = [i for i, pattern in enumerate(patterns) if re.search(f"{pattern}$", text)]
    assert len(fits) == 1, (text, fits)
    return fits[0]


def has_distractor(language, problem):
    return getattr(problem, language).startswith(DISTRACTORS[language])


def test_the_generator_has_the_prescribed_shape():
    assert len(CATEGORIES) == 10
    assert len(NAMES) == 6
    assert len(OBJECTS) == 8
    for language in LANGUAGES:
        assert set(TEMPLATES[language]) == set(CATEGORIES)
        assert all(len(set(t)) == 2 for t in TEMPLATES[language].values())


def test_answers_are_right_in_both_languages(train, held):
    for problem in train + held:
        assert solve(problem.category, problem.en) == problem.answer, problem.en
        assert solve(problem.category, problem.zh) == problem.answer, problem.zh
        assert 1 <= problem.answer <= 40
        assert max(numbers(problem.en)) <= 40


def test_both_languages_hold_the_same_numbers(train, held):
    for problem in train + held:
        assert Counter(numbers(problem.en)) == Counter(numbers(problem.zh))


def test_completions_say_the_answer_in_their_language(train):
    for problem in train[:200]:
        for language in LANGUAGES:
            completion = problem.completion(language)
            assert extract_answer(completion).value == problem.answer
            assert identify_language(completion, min_letters=1) == language
            assert identify_language(problem.prompt(language), min_letters=5) == language
            assert problem.prompt(language) == getattr(problem, language) + "\n"
    assert train[0].completion("en") == f" The answer is {train[0].answer}."
    assert train[0].completion("zh") == f"答案是{train[0].answer}。"


def test_operands_are_many_enough_and_small():
    for category in CATEGORIES:
        tuples = operand_tuples(category, False) + operand_tuples(category, True)
        assert len(set(tuples)) == len(tuples)
        if category in BINARY:
            assert len(tuples) >= 150
        largest = 40 if category in ("half", "sequence") else 20
        assert 1 <= min(map(min, tuples)) <= max(map(max, tuples)) <= largest


def test_the_split_is_by_operands_for_both_languages(train, held):
    """No (category, numbers) of one split is met in the other, read from the texts themselves."""
    for language in LANGUAGES:
        seen = {(p.category, solve(p.category, getattr(p, language)), p.operands) for p in train}
        new = {(p.category, solve(p.category, getattr(p, language)), p.operands) for p in held}
        assert not seen & new
    assert not any(p.held_out for p in train)
    assert all(p.held_out for p in held)
    for problem in train + held:
        assert problem.operands in operand_tuples(problem.category, problem.held_out)


def test_about_a_seventh_is_held_out_and_every_category_has_other_answers_there():
    """Patching a problem with another of its category needs three answers to choose from."""
    total = kept = 0
    for category, rule in CATEGORIES.items():
        held, train = operand_tuples(category, True), operand_tuples(category, False)
        assert len({rule.answer(*t) for t in held}) >= 3, category
        assert 0.1 <= len(held) / (len(held) + len(train)) <= 0.2, category
        total, kept = total + len(held) + len(train), kept + len(held)
    assert abs(kept / total - 1 / 7) < 0.02


def test_the_split_is_the_same_in_another_process():
    module = "zscope.studies.crosslingual.problems.parallel"
    code = f"from {module} import *; print([operand_tuples(c, True) for c in CATEGORIES])"
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout
    assert ast.literal_eval(out) == [operand_tuples(c, True) for c in CATEGORIES]
    assert is_held_out("add", operand_tuples("add", True)[0])


def test_categories_have_the_shares_of_their_operands_up_to_a_limit(train):
    found = Counter(p.category for p in train)
    assert found == category_counts(N)
    assert sum(found.values()) == N
    operands = {c: len(operand_tuples(c, True) + operand_tuples(c, False)) for c in CATEGORIES}
    ratios = [found[c] / min(operands[c], 400) for c in CATEGORIES]
    assert max(ratios) / min(ratios) == pytest.approx(1, abs=0.05)


def test_a_hundred_problems_are_of_every_category():
    assert min(category_counts(100).values()) >= 1


def test_templates_are_chosen_independently(train):
    """All four pairs of templates stand in a quarter of the problems, in every category."""
    for category in CATEGORIES:
        mine = [p for p in train if p.category == category]
        pairs = Counter((template_of("en", p), template_of("zh", p)) for p in mine)
        assert len(pairs) == 4
        # 400 problems: a standard deviation of .022.
        assert all(abs(n / len(mine) - 0.25) < 0.09 for n in pairs.values())


def test_two_in_five_have_a_distractor_in_each_language_by_itself(train):
    en = [has_distractor("en", p) for p in train]
    zh = [has_distractor("zh", p) for p in train]
    assert abs(sum(en) / N - 0.4) < 0.03
    assert abs(sum(zh) / N - 0.4) < 0.03
    assert abs(sum(a and b for a, b in zip(en, zh, strict=True)) / N - 0.16) < 0.03
    assert not any(numbers(line) for lines in DISTRACTORS.values() for line in lines)


def test_names_and_objects_correspond(train):
    for problem in train:
        zh = {i for i, (_, name) in enumerate(NAMES) if name in problem.zh}
        en = {i for i, (name, _) in enumerate(NAMES) if name in problem.en}
        # A template may leave out the second person, never name a third.
        assert len(zh | en) <= 2
        things_en = {i for i, t in enumerate(OBJECTS) if re.search(rf"\b{t[0]}s?\b", problem.en)}
        things_zh = {i for i, t in enumerate(OBJECTS) if t[1] in problem.zh}
        assert len(things_en | things_zh) <= 1, problem


def test_english_numbers_agree_with_their_nouns(train, held):
    nouns = "|".join([t[0] for t in OBJECTS] + ["dollar", "year"])
    for problem in train + held:
        for number, _, plural in re.findall(rf"(\d+) ({nouns})(s?)\b", problem.en):
            assert (plural == "") == (number == "1"), problem.en
        for verb, number in re.findall(r"There (is|are) (\d+) ", problem.en):
            assert (verb == "is") == (number == "1"), problem.en
        assert "  " not in problem.en
        assert "{" not in problem.en + problem.zh


def test_chinese_objects_have_their_measure_word(train, held):
    for problem in train + held:
        for thing, measure in [t[1:] for t in OBJECTS]:
            for before in re.findall(rf"(?:\d+|多少)([^\d{thing[0]}，。？、]?){thing}", problem.zh):
                assert before in (measure, "排"), problem.zh
        assert " " not in problem.zh


def test_a_seed_decides_all():
    assert generate(50, 3, held_out=True) == generate(50, 3, held_out=True)
    texts = [[p.en for p in generate(50, seed, held_out=True)] for seed in (3, 4)]
    assert texts[0] != texts[1]
    ids = [p.id for s in (3, 4) for h in (True, False) for p in generate(50, s, held_out=h)]
    assert len(set(ids)) == 200


@pytest.mark.parametrize("n", [6, 12, 13, 24, 100, 250, 356])
def test_measured_problems_repeat_no_operands_and_fill_their_categories(n):
    problems = measured_problems(n, 0)
    assert len(problems) == n
    assert len({(p.category, p.operands) for p in problems}) == n
    counts = Counter(p.category for p in problems)
    assert min(counts.values()) >= 6
    assert len(counts) == min(n // 6, 6)
    assert all(p.held_out and is_held_out(p.category, p.operands) for p in problems)
    assert all(CATEGORIES[p.category].answer(*p.operands) == p.answer for p in problems)
    # As even as the tuples allow: who has fewer than the largest has all of its own, or one less.
    for name, count in counts.items():
        assert count in (len(operand_tuples(name, True)), max(counts.values())) or (
            count == max(counts.values()) - 1
        )
    assert problems == measured_problems(n, 0)


def test_other_seeds_measure_other_problems_with_ids_of_their_own():
    a, b = measured_problems(100, 0), measured_problems(100, 1)
    assert {(p.category, p.operands) for p in a} != {(p.category, p.operands) for p in b}
    generated = {p.id for p in generate(100, 0, held_out=True)}
    assert not {p.id for p in a} & ({p.id for p in b} | generated)
    assert [p.category for p in a] != sorted(p.category for p in a)


def test_every_mismatched_partner_is_of_the_category():
    for n in (12, 100):
        partners = mismatched_partners(measured_problems(n, 0), 0)
        assert not any(partners.other_category)


@pytest.mark.parametrize("n", [5, 357])
def test_a_number_of_problems_that_cannot_be_is_named(n):
    with pytest.raises(DataError, match=r"problems\.n: .*give 6 to 356"):
        measured_problems(n, 0)
    with pytest.raises(ValidationError, match="n\n"):
        ProblemsConfig(n=n)


def test_training_problems_are_those_that_they_always_were():
    """Trained models, and what they are evaluated on, depend on them."""
    texts = "".join(
        f"{p.id}{p.category}{p.operands}{p.zh}{p.en}{p.answer}"
        for held_out in (False, True)
        for p in generate(300, 7, held_out)
    )
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "e733c1a43e24ba04"


def test_an_unknown_category_is_an_error():
    with pytest.raises(DataError, match="no category 'divide': there are add, "):
        operand_tuples("divide", True)


def test_there_are_enough_written_problems():
    problems = load_problems()
    assert len(problems) >= 22
    assert len({p.category for p in problems}) >= 10
    assert len({p.en for p in problems}) == len({p.zh for p in problems}) == len(problems)
    assert min(Counter(p.category for p in problems).values()) >= 2


@pytest.mark.parametrize("row", read_rows(), ids=lambda row: row["id"])
def test_written_problems_are_right(row):
    assert eval(row["check"], {"__builtins__": {}}) == row["answer"]
    assert Counter(numbers(row["zh"])) == Counter(numbers(row["en"]))
    if row["category"] != "sequence":  # there the numbers that are not needed show the rule
        # 100 is the per cent sign.
        assert set(numbers(row["check"])) - {100} <= set(numbers(row["en"]))
    assert row["answer"] not in numbers(row["en"])
    assert identify_language(row["zh"], min_letters=5) == "zh"
    assert identify_language(row["en"], min_letters=5) == "en"
    assert row["zh"].endswith("？")
    assert row["en"].endswith("?")


def test_written_problems_become_problems():
    first = load_problems()[0]
    assert (first.operands, first.answer, first.held_out) == ((48, 35), 83, True)
    assert first.prompt("zh") == first.zh + "\n"


@pytest.mark.parametrize(
    ("check", "answer", "operands"),
    [
        ("2.5 * 4", 10, (2.5, 4)),
        ("0.1 * 30 + 0.2 * 10", 5, (0.1, 30, 0.2, 10)),
        ("1.1 * 3 - 0.3", 3, (1.1, 3, 0.3)),
        ("(45 + 35) / 4", 20, (45, 35, 4)),
        ("12 × 8 ÷ 2", 48, (12, 8, 2)),
        ("10 / 3 * 3", 10, (10, 3, 3)),
        ("-5 + 8", 3, (5, 8)),
    ],
)
def test_a_check_is_calculated_exactly(tmp_path, check, answer, operands):
    row = ROW.replace("1 + 1", f"'{check}'").replace("answer: 2", f"answer: {answer}")
    (tmp_path / "mine.yaml").write_text(f"- {row}", "utf-8")
    problems = load_problems(tmp_path / "mine.yaml")
    assert [(p.answer, p.operands) for p in problems] == [(answer, operands)]
    write_table(problem_rows(problems), tmp_path / "table.parquet", PROBLEMS, {})
    assert read_problems(tmp_path / "table.parquet") == problems


ROW = "{id: x, category: c, check: 1 + 1, answer: 2, zh: 一, en: a}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a list of problems"),
        ("[", "no YAML: line 1, column 2"),
        ("- {id: x, id: y}", "key [0].id is there twice, in line 1"),
        ("- {id: x}", "problem 0 must have the keys id, category"),
        (f"- {ROW[:-1]}, more: 1}}", "problem 0 must have the keys"),
        ("- " + ROW.replace("2,", "two,"), "problem 0: answer must be int, not 'two'"),
        ("- " + ROW.replace("2,", "true,"), "problem 0: answer must be int, not True"),
        (f"- {ROW}\n- {ROW}", "these ids are used twice: x"),
        (
            "- " + ROW.replace("1 + 1, answer: 2", "48 + 35, answer: 84"),
            "problem x: check 48 + 35 is 83, but answer is 84",
        ),
        (
            f"- {ROW}\n- " + ROW.replace("id: x", "id: y").replace("1 + 1", "2.5 / 2"),
            "problem y: check 2.5 / 2 is 5/4, but answer is 2",
        ),
        ("- " + ROW.replace("1 + 1", "1 / 0"), "problem x: check 1 / 0 cannot be calculated"),
        ("- " + ROW.replace("1 + 1", "'2 ** 1'"), "problem x: check 2 ** 1 cannot be calculated"),
        ("- " + ROW.replace("1 + 1", "two"), "problem x: check two cannot be calculated"),
        ("- " + ROW.replace("1 + 1", "1 +"), "problem x: check 1 + cannot be calculated"),
        ("- " + ROW.replace("1 + 1", "'True + 1'"), "check True + 1 cannot be calculated"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(DataError, match=re.escape(message)) as error:
        load_problems(file)
    assert str(file) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml: cannot be read"):
        load_problems(tmp_path / "none.yaml")
