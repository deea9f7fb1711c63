"""Problems with examples in front, for base models: categories of words, and number words.

categories     dog: animal       狗：动物         the answer is a word of the prompt's language
number_words   forty-two = 42    四十二 = 42      the same digits in both languages

Every prompt of a source and language has the same 14 examples in front, a line each, and then a
line that stops where the answer is due. Always giving the same answer is right in 1 of 7 categories
(they are balanced), and in one of the number words (all numbers differ).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from zscope.core.errors import DataError
from zscope.studies.crosslingual.problems.category_items import CLASSES, EXAMPLES, MEASURED
from zscope.studies.crosslingual.problems.measured import LEAST, fill_evenly
from zscope.studies.crosslingual.problems.number_words import spell_chinese, spell_english
from zscope.studies.crosslingual.problems.parallel import Problem

T = TypeVar("T")
# Of both lengths, in no order that could be followed.
NUMBER_EXAMPLES = (64, 305, 17, 58, 720, 30, 412, 95, 189, 71, 536, 23, 861, 648)
_NUMBERS = {"two_digits": range(11, 100), "three_digits": range(101, 1000)}
# Apart from the draws of `measured_problems` with the same seed.
_CATEGORIES, _NUMBER_WORDS = 3, 4


def category_problems(n: int, seed: int) -> list[Problem]:
    """`n` words of `MEASURED`, each to be given its class, shuffled.

    Classes have equal numbers, or one more or less. A problem's category and its answer are the
    class, by its English name in both languages. Raises DataError if `n` gives a class fewer than
    LEAST problems, or more than it has words.
    """
    by_class = {name: [x for x in MEASURED if x.category == name] for name in CLASSES}
    sizes = _sizes(n, {name: len(items) for name, items in by_class.items()}, "categories")
    examples_en = "".join(f"{x.en}: {x.category}\n" for x in EXAMPLES)
    examples_zh = "".join(f"{x.zh}：{CLASSES[x.category]}\n" for x in EXAMPLES)
    return [
        Problem(
            id=f"category-{x.en.replace(' ', '-')}",
            category=x.category,
            operands=(),
            answer=x.category,
            zh=f"{x.zh}：",
            en=f"{x.en}:",
            held_out=True,
            kind="line_class",
            examples_zh=examples_zh,
            examples_en=examples_en,
        )
        for _, x in _drawn(by_class, sizes, [seed, _CATEGORIES])
    ]


def number_word_problems(n: int, seed: int) -> list[Problem]:
    """`n` different numbers in words, to be written in digits, shuffled; none is an example.

    Half have two digits, half have three; the category says which. Raises DataError if `n` gives
    one of them fewer than LEAST problems, or more than there are such numbers.
    """
    possible = {
        name: sorted(set(numbers) - set(NUMBER_EXAMPLES)) for name, numbers in _NUMBERS.items()
    }
    fewest = min(map(len, possible.values()))
    sizes = _sizes(n, dict.fromkeys(possible, fewest), "number_words")
    examples_en = "".join(f"{spell_english(x)} = {x}\n" for x in NUMBER_EXAMPLES)
    examples_zh = "".join(f"{spell_chinese(x)} = {x}\n" for x in NUMBER_EXAMPLES)
    return [
        Problem(
            id=f"number-{number}",
            category=name,
            operands=(number,),
            answer=number,
            zh=f"{spell_chinese(number)} =",
            en=f"{spell_english(number)} =",
            held_out=True,
            kind="line_number",
            examples_zh=examples_zh,
            examples_en=examples_en,
        )
        for name, number in _drawn(possible, sizes, [seed, _NUMBER_WORDS])
    ]


def _drawn(
    possible: Mapping[str, Sequence[T]], sizes: Mapping[str, int], seed: Sequence[int]
) -> list[tuple[str, T]]:
    """(category, item) of so many different items of each category, shuffled."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    chosen = [
        (name, possible[name][i])
        for name, size in sizes.items()
        for i in rng.choice(len(possible[name]), size=size, replace=False)
    ]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _sizes(n: int, available: Mapping[str, int], source: str) -> dict[str, int]:
    """How many of `n` problems each category gets, as evenly as can be."""
    low, high = LEAST * len(available), sum(available.values())
    if not low <= n <= high:
        raise DataError(
            f"crosslingual.problems.n: {n} problems of source {source} cannot be made: "
            f"give {low} to {high}"
        )
    return fill_evenly(n, available)
