"""Answers that are all of a line: what a model writes behind examples of the form "dog: animal".

Only the line behind the prompt is read: a base model goes on with examples of its own. It is an
answer if it is exactly one class's name, or exactly a whole number; blanks around it do not count,
and full-width characters are read as plain ones. The name of a class in the other language is that
class too: the language of the line is read apart from its answer.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal, TypeAlias

from zscope.studies.crosslingual.problems.answers import Answer
from zscope.studies.crosslingual.problems.category_items import CLASSES
from zscope.studies.crosslingual.problems.numbers import normalise

LineKind: TypeAlias = Literal["line_number", "line_class"]
_CLASS_OF = {name: en for en, zh in CLASSES.items() for name in (en, zh)}
_NUMBER = re.compile("[0-9]+")


def answer_line(text: str) -> str:
    """The part of a completion that is read: its first line."""
    return text.partition("\n")[0]


def line_ends(text: str) -> bool:
    """Whether the line has ended, so that its answer is complete."""
    return "\n" in text


def extract_line_answer(text: str, kind: LineKind, *, finished: bool) -> Answer:
    """The number, or the English name of the class, that a completion's first line is.

    finished: whether generation stopped by itself. If not, and the line has no end, an answer that
    has been begun is `truncated`: "4" may become "42", and "body" become "body part". A line that
    is empty has the status `none`, and any other one is `unclear`.
    """
    line = normalise(answer_line(text)).strip()
    whole = finished or line_ends(text)
    if not whole and _may_go_on(line, kind):
        return Answer(None, "truncated")
    if not line:
        return Answer(None, "none")
    if kind == "line_class" and line in _CLASS_OF:
        return Answer(_CLASS_OF[line], "ok", True)
    if kind == "line_number" and _NUMBER.fullmatch(line):
        return Answer(Fraction(int(line)), "ok", True)
    return Answer(None, "unclear")


def _may_go_on(line: str, kind: LineKind) -> bool:
    if kind == "line_number":
        return not line or bool(_NUMBER.fullmatch(line))
    return any(name.startswith(line) for name in _CLASS_OF)
