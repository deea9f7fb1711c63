"""Which number a generated text answers with, and whether that is certain."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from zscope.studies.crosslingual.problems.new_problem import before_label, question_breaks
from zscope.studies.crosslingual.problems.numbers import Number, find_numbers, normalise

Status = Literal["ok", "none", "multiple", "unclear", "truncated"]


@dataclass(frozen=True)
class Answer:
    """A number, or the name of a class, read from a text.

    Attributes:
        value: the exact value (15 % is 3/20), or the English name; None for `none` and `truncated`.
            Of `multiple` and `unclear` it is a guess, or None.
        status: `ok`: the number is the answer beyond doubt; `none`: no number; `multiple`:
            different numbers and nothing that chooses; `unclear`: a number whose value is
            uncertain, which is asked or taken back, or may only be on the way to the answer;
            `truncated`: the text stops inside the answer or just before it.
        anchored: whether a marker ("The answer is", "等于", ...) named it. False: the fallback.
    """

    value: Fraction | str | None
    status: Status
    anchored: bool = False


_FINAL = re.compile(
    r"\banswer(?:\s+to\s[^.\n:]{0,60}?|\s+here)?\s*(?:is|was|equals|=|:)(?:\s*:)?"
    r"|答案(?:就)?(?:应该|应当)?(?:是|为|等于|:)(?:\s*:)?|答:|(?:最终)?结果(?:是|为|:)|####"
    r"|\\boxed\s*\{",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"(?<!不)等于|\bequals\b|\bis equal to\b|(?<![<>!])=|≈", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[。!?;\n—]|[.,](?!\d)|(?<=\w)\s*\(")
_NEGATED = re.compile(
    r"(?:\bnot|n't|\bnever|\bcannot|不是|并非|不等于|不可能是|不会是|≠)"
    r"\s*(?:be|equal(?:\s+to)?)?\s*[$(]?$",
    re.IGNORECASE,
)
# Two equal numbers with only this between them are one quantity or a calculation: 5元5角, 5 × 5.
_JOINED = re.compile(
    r"[\s°]*(?:[A-Za-z]+|(?![一总]?共)[\u4e00-\u9fff]{1,2})?[.,]?\s*"
    r"(?:[-–+*/^~:÷]|\b(?:plus|minus|times|to|and|by)\b|[加减乘除至到和又零])?\s*[$(]?",
    re.IGNORECASE,
)
_OPERATOR = re.compile(
    r"[-–+*/^÷=≈]|\b(?:plus|minus|times|of|divided|multiplied|equals)\b|[加减乘除]|等于",
    re.IGNORECASE,
)
# Behind a box: the number in it is only a part.
_PART = re.compile(
    r"\s*(?:[%^*/!\d√π+百千万亿成半多]|\\(?!boxed)"
    r"|(?:hundred|thousand|million|billion|trillion|dozen|per\s?cent|and a half)\b)"
)
# Sentences whose numbers are the problem's or a check, so they do not contradict an answer.
_CHECK = re.compile(
    r"\b(?:note|check|verif\w+|given|recall)\b"
    r"|验算|检验|检查|验证|注意|题目|题中|已知|给出",
    re.IGNORECASE,
)
_REASON = re.compile(r"\b(?:because|since|as)\b|因为|由于", re.IGNORECASE)
_SUPPOSED = re.compile(r"\b(?:let(?!['’])|suppose|assume|if|where)\b|设|令|如果|若", re.IGNORECASE)
_WITHDRAWN = re.compile(
    r"\b(?:wait|actually|sorry|correction|mistakes?|mistaken|wrong|incorrect|instead|rather|oops|hmm"
    r"|should (?:be|have)|must be|no(?=\s*[,.!]))\b"
    r"|不对|错|更正|等等|等一下|抱歉|实际上|其实|应该是|应为|而是|不正确",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[。!?;\n]|\.(?!\d)")


def extract_answer(text: str, *, finished: bool = True) -> Answer:
    r"""The number that a completion (without its prompt) answers with.

    In order: the last final marker (`\boxed{}`, "The answer is", "答案是", ...) that a number
    follows in its clause; the last "=" or "等于"; else the numbers of the text, if they agree.
    A later number that differs makes the answer `multiple`. Numerals in words count only where no
    digits are ("两人一共12个" says 12). What follows the sign of a new problem is not read.

    Args:
        text: the completion.
        finished: whether generation stopped by itself. If not, a number that touches the end of
            the text may lack digits, so it is `truncated`, and one that no final marker names may
            be on the way to the answer, so it is `unclear`.
    """
    part = answer_part(text)
    finished = finished or part != text
    found, _ = _read(part, finished)
    for at, tells in question_breaks(part):
        alone, _ = _read(part[:at], True)
        if tells and alone.status != "none" and (alone.value, alone.status) != (found.value, "ok"):
            # Either the numbers before the question are the answer, or those after it.
            return Answer(alone.value, "multiple" if alone.value is not None else "unclear")
    return found


def answer_part(text: str) -> str:
    """The text before a new problem begins: before its label, or, once a final marker has named the
    answer, before a paragraph with a question."""
    text = before_label(text)
    for at, _ in question_breaks(text):
        answer, final = _read(text[:at], True)
        if final and answer.status == "ok" and not _WITHDRAWN.search(text, at):
            return text[:at]
    return text


def goes_on(text: str) -> bool:
    """Whether a new problem has begun in the text, so that its answer is complete."""
    return answer_part(text) != text


@dataclass(frozen=True)
class _Text:
    """A normalised text with its numbers, without the negated ones."""

    text: str
    numbers: Sequence[Number]
    finished: bool

    def between(self, start: int, end: int) -> list[Number]:
        """The numbers that stand there, without a word for two in front ("两人一共12个")."""
        here = [n for n in self.numbers if start <= n.start and n.end <= end]
        for first, second in itertools.pairwise(here[:2]):
            gap = self.text[first.end : second.start]
            two = first.in_words and first.value == 2 and not second.in_words
            return here[1:] if two and not _JOINED.fullmatch(gap) else here
        return here

    def clause_end(self, start: int) -> int:
        """The end of the clause, which is never inside a number."""
        for stop in _CLAUSE_END.finditer(self.text, start):
            if not any(n.start <= stop.start() < n.end for n in self.numbers):
                return stop.start()
        return len(self.text)

    def is_cut(self, end: int) -> bool:
        """Whether the text stops there, in a number that may go on: 12, "12.", "12," """
        return not self.finished and self.text[end:].strip() in ("", ".", ",")

    def is_open(self, end: int) -> bool:
        """Whether the clause that ends there may go on."""
        return not self.finished and not self.text[end:].strip()

    def is_asked(self, end: int) -> bool:
        """Whether the clause that ends there is a question."""
        return self.text[end : end + 1] == "?" or self.text[:end].endswith(("吗", "呢"))

    def agreed(self, numbers: Sequence[Number], end: int) -> Answer:
        """The value of these numbers of a clause or text that ends at `end`."""
        last = numbers[-1]
        if self.is_cut(last.end):
            return Answer(None, "truncated")
        if any(n.value is None for n in numbers):
            return Answer(None, "unclear")
        if len({n.value for n in numbers}) > 1:
            return Answer(last.value, "multiple")
        pairs = itertools.pairwise(numbers)
        if self.is_asked(end) or any(
            _JOINED.fullmatch(self.text[a.end : b.start]) for a, b in pairs
        ):
            return Answer(None, "unclear")
        return Answer(last.value, "unclear" if self.is_open(end) else "ok")


def _read(text: str, finished: bool) -> tuple[Answer, bool]:
    """The answer of a text without a new problem, and whether a final marker named it."""
    text = normalise(text)
    numbers = [n for n in find_numbers(text) if not _NEGATED.search(text[: n.start])]
    if any(not n.in_words for n in numbers):
        # Beside digits, "one" and 一 are words, but for 5元一角.
        joined = re.compile(r"\d[\u4e00-\u9fff]{0,2}$")
        numbers = [
            n
            for n in numbers
            if not (n.in_words and n.value == 1) or joined.search(text[: n.start])
        ]
    whole = _Text(text, numbers, finished)
    markers = list(_FINAL.finditer(text))
    found = [(m, *clause) for m in markers if (clause := _after(whole, m))]
    if found:
        marker, answer, end = found[-1]
        before = [(m, a) for m, a, _ in found[:-1] if a.status == "ok" and a.value != answer.value]
        if before and not _WITHDRAWN.search(text, before[-1][0].end(), marker.end()):
            answer = replace(answer, status="multiple" if answer.status == "ok" else answer.status)
        return _unless_contradicted(whole, answer, end, final=True), True
    if markers and not text[markers[-1].end() :].strip(" :$\n"):
        return Answer(None, "truncated", True), True
    for marker in reversed(list(_EQUALS.finditer(text))):
        sentence = _sentence(text, marker.start(), 0)
        told = _CHECK.search(sentence) or _SUPPOSED.search(sentence)
        clause = None if told else _after(whole, marker)
        if clause:
            answer, end = clause
            if answer.status == "ok" and not finished:
                return replace(answer, status="unclear"), False  # the calculation may go on
            return _unless_contradicted(whole, answer, end, final=False), False
    return _all_agree(whole), False


def _after(whole: _Text, marker: re.Match[str]) -> tuple[Answer, int] | None:
    """The answer in the clause behind `marker`, and where the clause ends; None: no number."""
    text, start = whole.text, marker.end()
    if marker.group().startswith("\\boxed"):
        end = _closing_brace(text, start)
        if end is None:
            return Answer(None, "truncated", True), len(text)
        if _PART.match(text, end + 1) or re.search(r"[-–\d.]$", text[: marker.start()]):
            return Answer(None, "unclear", True), end
    else:
        # A clause may begin on the next line ("Answer:\n12"), or behind a dash.
        start += len(text[start:]) - len(text[start:].lstrip(" \t\n—("))
        end = whole.clause_end(start)
    equals = list(_EQUALS.finditer(text, start, end))
    numbers = whole.between(equals[-1].end() if equals else start, end)
    if numbers and equals:
        # In "59 since 50 - 18 = 32" the 59 is no part of the calculation.
        left = whole.between(start, equals[-1].start())
        gaps = [text[a.end : b.start] for a, b in itertools.pairwise(left)]
        if not all(_OPERATOR.search(gap) for gap in gaps):
            numbers = [left[0], *numbers]
    return (replace(whole.agreed(numbers, end), anchored=True), end) if numbers else None


def _unless_contradicted(whole: _Text, answer: Answer, end: int, *, final: bool) -> Answer:
    """The answer of a clause that ends at `end`, or why the rest of the text makes it uncertain."""
    if answer.status != "ok":
        return answer
    if _is_wrong_chain(whole):
        return replace(answer, status="multiple")
    text = whole.text
    later = [n for n in whole.numbers if n.start >= end]
    withdrawn = _WITHDRAWN.search(text, end)
    if not withdrawn:
        later = [n for n in later if not _is_aside(text, end, n, reasons=final)]
    differ = [n for n in later if n.value != answer.value]
    # An explanation may use other numbers if it ends with the answer.
    if differ and (not final or later[-1] in differ):
        return replace(answer, value=answer.value if final else later[-1].value, status="multiple")
    if withdrawn and not later:
        return Answer(None, "unclear", True)
    return answer


def _is_wrong_chain(whole: _Text) -> bool:
    """Whether two numbers that nothing is done to are called equal and differ ("5+7=12=13")."""
    for first, second in itertools.pairwise(whole.numbers):
        before, after = whole.text[: first.start], whole.text[second.end :].lstrip()
        if (
            _EQUALS.fullmatch(whole.text[first.end : second.start].strip())
            and re.search(r"(?:=|等于)\s*$", before)
            and not _OPERATOR.match(after)
            and first.value != second.value
        ):
            return True
    return False


def _is_aside(text: str, start: int, number: Number, *, reasons: bool) -> bool:
    """Whether a number stands in brackets, or in a check or a reason."""
    before = text[start : number.start]
    if before.count("(") > before.count(")") and ")" in text[number.end :]:
        return not re.match(r"\s*(?:or|maybe|perhaps|或|可能)", before.rpartition("(")[2])
    sentence = _sentence(text, number.start, start)
    return bool(_CHECK.search(sentence) or (reasons and _REASON.search(sentence)))


def _sentence(text: str, at: int, start: int) -> str:
    """The sentence around `at`, from `start` on."""
    for stop in _SENTENCE_END.finditer(text, start, at):
        start = stop.end()
    end = _SENTENCE_END.search(text, at)
    return text[start : end.start() if end else len(text)]


def _all_agree(whole: _Text) -> Answer:
    """The fallback: the numbers of the whole text."""
    numbers = whole.between(0, len(whole.text))
    if not numbers:
        return Answer(None, "none")
    answer = whole.agreed(numbers, whole.clause_end(numbers[-1].end))
    if answer.status == "ok" and not whole.finished:
        return replace(answer, status="unclear")  # its answer may be still to come
    return answer


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i
    return None
