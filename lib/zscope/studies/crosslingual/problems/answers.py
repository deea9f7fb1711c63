r"""Readings of a generated text: its answer, its language, and whether it only repeats itself.

Numbers are read after NFKC: `1,200`, `3.50`, `−5` (U+2212), `3/4`, `\frac{3}{4}`, `3 1/2`, `15%`,
`1.2万`, and Chinese numerals (`十二`, `两百零五`, `三分之二`, `百分之十`, `负三`, `三点五`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from zscope.studies.crosslingual.problems.chinese_numerals import CHARACTERS, parse

Status = Literal["ok", "none", "multiple", "truncated"]
Language = Literal["en", "zh", "mixed", "none", "undetermined"]


@dataclass(frozen=True)
class Answer:
    """A number read from a text.

    Attributes:
        value: the exact value (15 % is 3/20); None for `none` and `truncated`. Of `multiple` it is
            the last of them, a guess.
        status: `ok`; `none`: no number; `multiple`: different numbers and nothing that chooses;
            `truncated`: the text stops inside or just before the answer.
        anchored: whether a marker ("The answer is", "等于", ...) named it. False: the fallback.
    """

    value: Fraction | None
    status: Status
    anchored: bool = False


_FINAL = re.compile(
    r"\banswer(?:\s+to\s[^.\n:]{0,60}?|\s+here)?\s*(?:is|was|equals|=|:)(?:\s*:)?"
    r"|答案(?:就)?(?:应该|应当)?(?:是|为|等于|:)(?:\s*:)?|答:|(?:最终)?结果(?:是|为|:)|####"
    r"|\\boxed\s*\{",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"等于|\bequals\b|\bis equal to\b|=|≈", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[。!?;\n]|[.,](?!\d)|(?<=\w)\s*\(")
_BETWEEN = re.compile(r"\b(?:or|and|to)\b|或|和|至|到|、|~|-")
_NEGATED = re.compile(r"(?:\bnot|不是|并非)\s*$", re.IGNORECASE)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_SIGN = r"(?P<{}>负|(?<![\w)%}}])(?<!\d )-)?"
_ARABIC = re.compile(
    rf"(?<![A-Za-z\d.^_])(?<!\^\{{){_SIGN.format('s')}\$?(?:"
    rf"(?P<whole>\d+) (?P<wn>\d+)/(?P<wd>\d+)"
    rf"|\\[dt]?frac\{{(?P<fn>\d+)\}}\{{(?P<fd>\d+)\}}"
    rf"|(?P<n>{_DIGITS})(?:\s?/\s?(?P<d>{_DIGITS}))?\s?(?P<unit>[百千万亿]|\\?%)?)"
)
_NUMERAL = rf"[{CHARACTERS}]+"
_CHINESE = re.compile(
    rf"(?<![第{CHARACTERS}])(?P<s>负)?(?:(?P<d>百|{_NUMERAL})分之(?P<n>{_NUMERAL})"
    # In these words 一, 两, 十, 百, 千 and 万 are not a number.
    rf"|(?!一[共样起些下直定般半边旦切同致次向方面])(?!十分|千万别|百般|万一)"
    rf"(?P<v>{_NUMERAL}(?:点[零〇一二三四五六七八九]+)?))"
)
_UNITS = {"百": 100, "千": 1000, "万": 10**4, "亿": 10**8}


def extract_answer(text: str, *, finished: bool = True) -> Answer:
    """The number that a completion (without its prompt) answers with.

    In order: the last final marker (`\\boxed{}`, "The answer is", "答案是", ...) that a number
    follows in its clause; the last "=" or "等于"; else the numbers of the text, if they agree.
    Chinese numerals count only in a clause without Arabic ones ("两人一共12个" says 12).

    Args:
        text: the completion.
        finished: whether generation stopped by itself. If not, a number that touches the end of
            the text may lack digits, so it is `truncated`.
    """
    text = _normalise(text)
    for pattern in (_FINAL, _EQUALS):
        markers = list(pattern.finditer(text))
        for marker in reversed(markers):
            found = _after(text, marker, finished)
            if found is not None:
                return found
        if pattern is _FINAL and markers and not text[markers[-1].end() :].strip(" :$\n"):
            return Answer(None, "truncated", True)
    numbers = list(_numbers(text))
    if not numbers:
        return Answer(None, "none")
    if _cut(text, numbers[-1][1], finished):
        return Answer(None, "truncated")
    values = {value for *_, value in numbers}
    return Answer(numbers[-1][2], "ok" if len(values) == 1 else "multiple")


def _after(text: str, marker: re.Match[str], finished: bool) -> Answer | None:
    """The answer in the clause behind `marker`; None if it has no number."""
    start = marker.end()
    if marker.group().startswith("\\boxed"):
        end = _closing_brace(text, start)
        if end is None:
            return Answer(None, "truncated", True)
    else:
        # A clause may begin on the next line ("Answer:\n12").
        start += len(text[start:]) - len(text[start:].lstrip())
        stop = _CLAUSE_END.search(text, start)
        end = stop.start() if stop else len(text)
    clause = text[start:end]
    equals = list(_EQUALS.finditer(clause))
    at = equals[-1].end() if equals else 0
    numbers = [
        (a, b, value)
        for a, b, value in _numbers(clause[at:])
        if not _NEGATED.search(clause[at:][:a])
    ]
    if not numbers:
        return None
    first, *others = numbers
    if _cut(text, start + at + first[1], finished):
        return Answer(None, "truncated", True)
    if others and others[0][2] != first[2]:
        between = clause[at:][first[1] : others[0][0]]
        if len(between) <= 8 and _BETWEEN.search(between):
            return Answer(others[-1][2], "multiple", True)
    return Answer(first[2], "ok", True)


def _cut(text: str, end: int, finished: bool) -> bool:
    return not finished and not text[end:].strip()


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i
    return None


def _normalise(text: str) -> str:
    # NFKC would glue these to their neighbours: "12，345", "3½" and "5²" would be other numbers.
    text = text.replace("，", ", ")
    text = re.sub(r"(?<=\d)(?=[¼½¾⅐-⅞])", " ", text)
    text = re.sub(r"[⁰¹²³⁴-⁹]+", "^{0}", text)
    text = unicodedata.normalize("NFKC", text)
    text = re.sub("[−–—﹣]", "-", text).replace("⁄", "/").replace("×", "*")
    text = text.replace("{,}", ",").replace("\\,", "").replace("\\$", "$").replace("**", "")
    return re.sub(r"\\[()\[\]]|\$(?!\d|-|\.)|(?<=[\d}])\$", " ", text)


def _numbers(text: str) -> Iterator[tuple[int, int, Fraction]]:
    """Start, end and value of the numbers: the Arabic ones, or if there are none the Chinese."""
    found = False
    for match in _ARABIC.finditer(text):
        value = _arabic(match)
        if value is not None:
            found = True
            yield match.start(), match.end(), value
    if not found:
        for match in _CHINESE.finditer(text):
            value = _chinese(match)
            if value is not None:
                yield match.start(), match.end(), value


def _arabic(match: re.Match[str]) -> Fraction | None:
    part = match.groupdict()
    top, bottom = part["fn"] or part["wn"] or part["n"], part["fd"] or part["wd"] or part["d"]
    value = Fraction(top.replace(",", ""))
    if bottom:
        below = Fraction(bottom.replace(",", ""))
        if not below:
            return None
        value /= below
    value += int(part["whole"] or 0)
    if part["unit"]:
        value *= _UNITS.get(part["unit"], Fraction(1, 100))
    return -value if part["s"] else value


def _chinese(match: re.Match[str]) -> Fraction | None:
    part = match.groupdict()
    if part["v"]:
        value = parse(part["v"])
    else:
        above, below = parse(part["n"]), Fraction(100) if part["d"] == "百" else parse(part["d"])
        value = above / below if above is not None and below else None
    return -value if value is not None and part["s"] else value


_LATEX = re.compile(
    r"\\\(.*?\\\)|\\\[.*?\\\]|\$\$.*?\$\$|\$(?=[^$\n]*[\\^_={}])[^$\n]*\$|\\[A-Za-z]+", re.DOTALL
)
_CJK = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_LATIN = re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f]")


def identify_language(
    text: str, *, min_letters: int, low: float = 0.2, high: float = 0.8
) -> Language:
    """Language by the share of CJK letters among CJK and Latin letters.

    Digits, punctuation and LaTeX (commands, and math between its delimiters) do not count.

    Args:
        text: the completion.
        min_letters: below this many letters the language is `undetermined`: 5 for free text; 1
            where a whole answer is "答案是12。".
        low: largest share that is "en".
        high: smallest share that is "zh"; between them the text is "mixed".

    Returns:
        "none" if there is no letter at all.
    """
    text = unicodedata.normalize("NFKC", _LATEX.sub(" ", text))
    cjk, latin = len(_CJK.findall(text)), len(_LATIN.findall(text))
    letters = cjk + latin
    if not letters:
        return "none"
    if letters < min_letters:
        return "undetermined"
    share = cjk / letters
    return "en" if share <= low else "zh" if share >= high else "mixed"


_LOOP = re.compile(r"(?P<unit>.{1,60}?)(?P=unit){3,}", re.DOTALL)


def is_degenerate(text: str, *, min_length: int = 20) -> bool:
    """Whether some unit of 1 to 60 characters stands four or more times in a row.

    Runs shorter than `min_length` characters, and runs of digits only (0.3333...), do not count.
    """
    return any(
        len(match.group()) >= min_length and not match["unit"].isdigit()
        for match in _LOOP.finditer(text)
    )
