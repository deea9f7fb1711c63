"""Parallel Chinese and English arithmetic problems: generated ones, and hand-written ones.

Generated problems train and test the embedded model; hand-written ones are for real models. In both
the two texts of a problem hold the same numbers and have the same answer.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import operator
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from zscope.config.yaml_files import read_yaml
from zscope.core.errors import ConfigError, DataError
from zscope.studies.crosslingual.problems.wording import (
    COMPLETIONS,
    DISTRACTORS,
    NAMES,
    OBJECTS,
    TEMPLATES,
)

Language = Literal["en", "zh"]
AnswerKind = Literal["text_number", "line_number", "line_class"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
PACKAGED = Path(__file__).with_name("math_problems.yaml")
MAX_NUMBER = 40  # the largest number in a generated text, answers included
DISTRACTOR_SHARE = 0.4
HELD_OUT_MODULUS = 7
LARGEST_SHARE = 400  # operands of a category that count for its share of the problems
# Salts the split. Of the salts from 0 on it is the first by which every category has about a
# seventh of its operands held out, the small ones too, with three or more different answers.
HELD_OUT_SALT = 43


@dataclass(frozen=True)
class Problem:
    """A problem in both languages.

    Attributes:
        id: unique within what made it.
        operands: the numbers that the answer is computed from; decimals in hand-written ones only.
        answer: the right answer; of kind line_class, the English name of the class.
        zh, en: the question, without a line break at its end.
        held_out: never trained on, in either language.
        kind: how an answer is read. text_number: the number that a text answers with; line_number,
            line_class: the number, or the name of a class, that is all of the line.
        examples_zh, examples_en: solved problems that stand in front of the question; empty: none.
    """

    id: str
    category: str
    operands: tuple[int | float, ...]
    answer: int | str
    zh: str
    en: str
    held_out: bool
    kind: AnswerKind = "text_number"
    examples_zh: str = ""
    examples_en: str = ""

    def prompt(self, language: Language) -> str:
        """What the model is given: the examples and the query."""
        return self.examples(language) + self.query(language)

    def examples(self, language: Language) -> str:
        """The part of the prompt that all problems of a source share."""
        return self.examples_en if language == "en" else self.examples_zh

    def query(self, language: Language) -> str:
        """The part of the prompt that is of this problem: the question, up to where the answer is
        due (a line answer goes on in the question's line)."""
        question = self.en if language == "en" else self.zh
        return question + ("\n" if self.kind == "text_number" else "")

    def completion(self, language: Language) -> str:
        """The right completion of a prompt for a number in a text, without the end-of-text token.

        Raises ValueError for other kinds: the embedded model is not taught those.
        """
        if self.kind != "text_number":
            raise ValueError(f"no sentence answers a problem of kind {self.kind}")
        return COMPLETIONS[language].format(self.answer)


def answer_kind(problems: Sequence[Problem]) -> AnswerKind:
    """The one kind of these problems. Raises DataError if they have several, or there are none."""
    kinds = {p.kind for p in problems}
    if len(kinds) != 1:
        raise DataError(f"problems of one kind are answered together, not of {sorted(kinds)}")
    return kinds.pop()


@dataclass(frozen=True)
class Category:
    """A kind of problem: its possible operands and the answer they have."""

    operands: Callable[[], Iterator[tuple[int, ...]]]
    answer: Callable[..., int]


def _pairs(first: range, second: range) -> Iterator[tuple[int, ...]]:
    return itertools.product(first, second)


_TO_20 = range(1, 21)

# Operands go to 20 (those of `half`, and the terms of a `sequence`, to 40) and answers to 40. A
# smaller range is memorised: the held-out accuracy falls.
CATEGORIES = {
    "add": Category(lambda: _pairs(_TO_20, _TO_20), lambda a, b: a + b),
    "subtract": Category(
        lambda: ((a, b) for a, b in _pairs(_TO_20, _TO_20) if b < a), lambda a, b: a - b
    ),
    "difference": Category(
        lambda: ((a, b) for a, b in _pairs(_TO_20, _TO_20) if a != b), lambda a, b: abs(a - b)
    ),
    "double": Category(lambda: ((a,) for a in _TO_20), lambda a: 2 * a),
    "half": Category(lambda: ((2 * a,) for a in _TO_20), lambda a: a // 2),
    # Paid with 10 or 20, price.
    "change": Category(lambda: ((a, b) for a in (10, 20) for b in range(1, a)), lambda a, b: a - b),
    # First term, step; three terms are shown and the fourth is asked for.
    "sequence": Category(
        lambda: ((a, b) for a, b in _pairs(range(1, 38), range(1, 14)) if a + 3 * b <= MAX_NUMBER),
        lambda a, b: a + 3 * b,
    ),
    "multiply": Category(lambda: _pairs(range(2, 6), range(2, 7)), lambda a, b: a * b),
    "age": Category(lambda: _pairs(_TO_20, _TO_20), lambda a, b: a + b),
    "two_step": Category(
        lambda: (t for t in itertools.product(range(1, 11), repeat=3) if t[2] < t[0] + t[1]),
        lambda a, b, c: a + b - c,
    ),
}


def is_held_out(category: str, operands: tuple[int, ...]) -> bool:
    """Whether problems with these operands are held out of training, in both languages.

    One in seven is, by a hash that is the same in every process and on every machine.
    """
    key = f"{HELD_OUT_SALT}:{category}:{','.join(map(str, operands))}"
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_MODULUS == 0


@cache
def operand_tuples(category: str, held_out: bool) -> tuple[tuple[int, ...], ...]:
    """The operands of a category in a split. Raises DataError for an unknown category."""
    if category not in CATEGORIES:
        raise DataError(f"no category {category!r}: there are {', '.join(CATEGORIES)}")
    every = CATEGORIES[category].operands()
    return tuple(t for t in every if is_held_out(category, t) == held_out)


def category_counts(n: int) -> dict[str, int]:
    """How many of `n` problems each category gets: in proportion to its operands, up to a limit.

    Equal shares would drill twenty operands as often as nine hundred: what is memorised first
    is never worked out, and the held-out operands of all categories suffer.
    """
    sizes = [min(len(tuple(c.operands())), LARGEST_SHARE) for c in CATEGORIES.values()]
    ends = [round(n * end / sum(sizes)) for end in itertools.accumulate(sizes)]
    return dict(zip(CATEGORIES, np.diff([0, *ends]).tolist(), strict=True))


def generate(n: int, seed: int, held_out: bool) -> list[Problem]:
    """`n` problems of a split, shuffled; `category_counts` are of each category.

    Operands are uniform over the split's tuples. Names and objects are shared by the two languages;
    the template and the distractor sentence, if any, are drawn for each language separately.
    Problem i depends on `n` too, not on the seed alone.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, int(held_out)]))
    names = [name for name, count in category_counts(n).items() for _ in range(count)]
    order = rng.permutation(names).tolist()
    split = "held_out" if held_out else "train"
    return [
        _draw(f"{split}-{seed}-{i}", category, held_out, rng) for i, category in enumerate(order)
    ]


def _draw(id_: str, category: str, held_out: bool, rng: np.random.Generator) -> Problem:
    possible = operand_tuples(category, held_out)
    return word(id_, category, possible[rng.integers(len(possible))], held_out, rng)


def word(
    id_: str, category: str, operands: tuple[int, ...], held_out: bool, rng: np.random.Generator
) -> Problem:
    """A problem with these operands: its names, object, templates and distractors are drawn."""
    first, second = rng.choice(len(NAMES), size=2, replace=False).tolist()
    thing = int(rng.integers(len(OBJECTS)))
    texts = {}
    for language in LANGUAGES:
        template = int(rng.integers(len(TEMPLATES[language][category])))
        lines = DISTRACTORS[language]
        line = lines[rng.integers(len(lines))] if rng.random() < DISTRACTOR_SHARE else ""
        texts[language] = render(
            language, category, template, operands, (first, second), thing, line
        )
    answer = CATEGORIES[category].answer(*operands)
    return Problem(id_, category, operands, answer, texts["zh"], texts["en"], held_out)


def render(
    language: Language,
    category: str,
    template: int,
    operands: tuple[int, ...],
    names: tuple[int, int],
    thing: int,
    distractor: str = "",
) -> str:
    """The text of a problem; `names` and `thing` index NAMES and OBJECTS."""
    a, b, c = (*operands, 0, 0)[:3]
    english, chinese, measure = OBJECTS[thing]
    first, second = (NAMES[i][LANGUAGES.index(language)] for i in names)
    text = TEMPLATES[language][category][template].format(
        N=first,
        M=second,
        a=a,
        b=b,
        c=c,
        An=_count(a, english),
        Bn=_count(b, english),
        Ad=_count(a, "dollar"),
        Bd=_count(b, "dollar"),
        Ay=_count(a, "year"),
        By=_count(b, "year"),
        o=f"{english}s" if language == "en" else chinese,
        m=measure,
        is_a="is" if a == 1 else "are",
        t2=a + b,
        t3=a + 2 * b,
    )
    return distractor + (" " if distractor and language == "en" else "") + text


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def every_phrase() -> Iterator[str]:
    """Texts that together hold every word of every possible problem and completion.

    Every template with every name in both roles, every object, in singular and plural, with and
    without a distractor, and every number.
    """
    for language in LANGUAGES:
        for category, templates in TEMPLATES[language].items():
            for template, operands in itertools.product(
                range(len(templates)), ((1, 1, 1), (2, 2, 2))
            ):
                for i, thing in itertools.product(range(len(NAMES)), range(len(OBJECTS))):
                    names = (i, (i + 1) % len(NAMES))
                    for line in ("", *DISTRACTORS[language]):
                        yield render(language, category, template, operands, names, thing, line)
        for number in range(MAX_NUMBER + 1):
            yield "\n" + COMPLETIONS[language].format(number)


_FIELDS = {"id": str, "category": str, "check": str, "answer": int, "zh": str, "en": str}


def load_problems(path: str | os.PathLike[str] | None = None) -> list[Problem]:
    """Hand-written problems of a YAML file, by default those of the package.

    The file is a list of problems with the keys id, category, check (the arithmetic that gives the
    answer; its numbers become the operands), answer, zh and en. All count as held out.

    Raises:
        DataError: the file is missing or no YAML, or a problem lacks a key, has another one, has a
            value of a wrong type, an id that another one has, or an answer that `check` does not
            give.
    """
    rows = read_rows(path)
    ids = [r["id"] for r in rows]
    if repeated := sorted({i for i in ids if ids.count(i) > 1}):
        raise DataError(f"{_name(path)}: these ids are used twice: {', '.join(repeated)}")
    problems = []
    for r in rows:
        where = f"{_name(path)}: problem {r['id']}"
        value, operands = calculate(r["check"], where)
        if value != r["answer"]:
            raise DataError(f"{where}: check {r['check']} is {value}, but answer is {r['answer']}")
        problems.append(
            Problem(r["id"], r["category"], operands, r["answer"], r["zh"], r["en"], True)
        )
    return problems


def read_rows(path: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """The checked rows of a problem file as they are written. Raises DataError: `load_problems`."""
    try:
        rows = read_yaml(PACKAGED if path is None else Path(path), _name(path))
    except ConfigError as error:
        raise DataError(str(error)) from None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{_name(path)}: must be a list of problems")
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(_FIELDS):
            raise DataError(f"{_name(path)}: problem {i} must have the keys {', '.join(_FIELDS)}")
        for key, kind in _FIELDS.items():
            if type(row[key]) is not kind:
                raise DataError(
                    f"{_name(path)}: problem {i}: {key} must be {kind.__name__}, not {row[key]!r}"
                )
    return rows


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calculate(check: str, where: str) -> tuple[Fraction, tuple[int | float, ...]]:
    """Exact value and numbers of arithmetic with + - * / ( ), × and ÷.

    Raises DataError, which begins with `where`, for anything else and for a division by zero.
    """
    operands: list[int | float] = []

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            operands.append(number := cast(int | float, node.value))
            return Fraction(str(number))  # 0.1 is a tenth
        raise ValueError("only numbers and + - * / ( ) are read")

    try:
        text = unicodedata.normalize("NFKC", check).replace("×", "*").replace("÷", "/")
        result = value(ast.parse(text.replace("−", "-").strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        raise DataError(f"{where}: check {check} cannot be calculated: {error}") from None
    return result, tuple(operands)


def _name(path: str | os.PathLike[str] | None) -> str:
    return "the packaged math_problems.yaml" if path is None else str(path)
