r"""The numbers of a text: where they stand, and their exact values.

Read are `1,200`, `12,34,567`, `1'234`, `3.50`, `−5`, `3/4`, `\frac34`, `3 1/2`, `15%`, `3e5`,
`3\times 10^5`, `3.5 million`, `1.2万`, `3万5`, `三分之二`, `两个半`, and numerals in Chinese and
English words. What looks like a number and has no certain value has the value None, as a whole: a
range, a root, a power, a time of day, `1 234`, `1.234,5`, `3k`. So no part of it is taken for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from zscope.studies.crosslingual.problems import chinese_numerals, english_numerals

LONGEST = 300  # digits; longer ones are loops of a model


@dataclass(frozen=True)
class Number:
    """A number in a text.

    Attributes:
        start, end: where it stands, its sign and unit (%, million) included.
        value: None if it is uncertain.
        in_words: written without Arabic digits.
    """

    start: int
    end: int
    value: Fraction | None
    in_words: bool = False


# --- one spelling for what means the same --------------------------------------------------------

_ARGUMENT = r"\s*(?:\{\s*(-?\d[\d,.']*)\s*\}|(\d))"
_REWRITTEN: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"<<[^<>]*>>", ""),  # the calculator's notes in GSM8K
    (r"\{,\}", ","),
    (r"(?<=\d)\\[,;: ](?=\d{3}(?!\d))", "'"),
    (r"\\(?:left|right|displaystyle|[bB]igg?|[!,;: ]|q?quad)(?![A-Za-z])", " "),
    (r"\\(?:text|textbf|mathrm|mathbf|mathit|operatorname|mbox)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\(?:times|cdot|ast)(?![A-Za-z])|[×∗⋅]", "*"),
    (r"\\div(?![A-Za-z])", "÷"),
    (r"\\(?:approx|simeq)(?![A-Za-z])", "≈"),
    (r"\\neq?(?![A-Za-z])|(?<!\d)!=", "≠"),
    (r"\\(?:leq?|lt)(?![A-Za-z])", "<"),
    (r"\\(?:geq?|gt)(?![A-Za-z])", ">"),
    (r"\\pm(?![A-Za-z])", "±"),
    (r"\\[lc]?dots(?![A-Za-z])", "..."),
    (r"\^\{?\s*\\circ\s*\}?", "°"),
    (r"\\([%$])", r"\1"),
    (r"\\(?:[dtc]?frac|nicefrac|sfrac)" + 2 * _ARGUMENT, lambda m: _quotient(m)),
    (r"(?<=\d)\s?\*\*\s?(?=\d)", "^"),
    (r"\*\*", ""),
    # Math delimiters; a dollar sign before a number stays.
    (r"\\[()\[\]]|\$(?!\d|-|\.)|(?<=[\d}])\$", " "),
    ("[−﹣‐‑]", "-"),
    ("[—―─]+", "—"),
]
_PATTERNS = [(re.compile(pattern), new) for pattern, new in _REWRITTEN]


def normalise(text: str) -> str:
    """The text in NFKC, with one spelling for the marks and the LaTeX that mean the same."""
    # NFKC would glue these to their neighbours: "12，345", "3½" and "5²" would be other numbers.
    text = text.replace("，", ", ")
    text = re.sub(r"(?<=\d)(?=[¼½¾⅐-⅞])", " ", text)
    text = re.sub(r"[⁰¹²³⁴-⁹]+", r"^{\g<0>}", text)
    # Spaces that are no word space, and apostrophes: thousands separators.
    text = re.sub(r"(?<=\d)[\u00a0\u2007\u2008\u2009\u200a\u202f’´`](?=\d{3}(?!\d))", "'", text)
    text = unicodedata.normalize("NFKC", text).replace("⁄", "/")
    for pattern, new in _PATTERNS:
        text = pattern.sub(new, text)
    return text


def _quotient(match: re.Match[str]) -> str:
    above, below = match[1] or match[2], match[3] or match[4]
    glued = match.string[match.start() - 1 : match.start()].isalnum()
    return f"{' ' if glued else ''}{above}/{below} "


# --- where numbers stand -------------------------------------------------------------------------

_DIGITS = r"(?:\d(?:[\d,.']*\d)?|\.\d+)"
_HAN = f"[{chinese_numerals.CHARACTERS}{''.join(map(chr, chinese_numerals.STANDARD))}]"
_COUNT = rf"(?:{_DIGITS}|{_HAN}+)"
# In these words 一, 三, 十, 百, 千 and 万 are not a number.
_NO_NUMERAL = (
    "(?!一[共样起些下直定般半边旦切同致次向方面会点旁路带]|十[分字足]|千万别|百般|万一|三[角明]|四[边周]"
    "|五[角官]星|零下)"
)
_NUMBER = re.compile(
    # A command that holds or takes a number: \sqrt{2}, \overline{3}, \log 2.
    rf"(?P<command>\\(?!boxed)[A-Za-z]+\s*(?:\[[^\]]*\]\s*)?(?:(?:\{{[^{{}}]*\}}\s*)+|\d+))"
    rf"|(?<![\w.^])(?<!\^\{{)(?P<fraction>(?:{_COUNT}又)?{_COUNT}分之{_COUNT})"
    rf"|(?<![{chinese_numerals.CHARACTERS}])(?P<cnfraction>(?:{_COUNT}又)?{_COUNT}分之{_COUNT})"
    # 千克, 千米 are units; 两 behind digits is one.
    rf"|(?<![\d^])(?<!\^\{{)(?P<mixed>{_HAN}*{_DIGITS}\s?(?:[十百万亿]|千(?![克米瓦卡帕赫]))"
    rf"(?:{_DIGITS}|{_HAN}(?![克米瓦卡帕赫]))*|{_HAN}+{_DIGITS})"
    rf"|(?<![\d^])(?<!\^\{{)(?P<arabic>{_DIGITS})"
    rf"|(?<![第周{chinese_numerals.CHARACTERS}])(?<!星期)(?<!礼拜)(?<![唯统之同单逐万]){_NO_NUMERAL}"
    rf"(?P<han>[几数]?{_HAN}+(?:点[几{chinese_numerals.CHARACTERS}]+)?)"
    rf"|(?P<english>{english_numerals.NUMERAL})",
    re.IGNORECASE,
)


def find_numbers(text: str) -> list[Number]:
    """The numbers of a normalised text, in their order."""
    found: list[Number] = []
    at = 0
    while match := _NUMBER.search(text, at):
        at = match.end()
        kind, written = match.lastgroup or "", match.group()
        if (kind == "command" and not re.search(r"\d", written)) or (
            # 百, 千万: a word for many.
            kind == "han" and not set(written) - set("百千万亿几数")
        ):
            continue
        before = found[-1].end if found else 0
        for value in _values(kind, written):
            start, value = _signed(text, match.start(), before, value)
            end, value = _with_units(text, match.end(), value)
            if value == _NOTHING:
                at = end
                continue
            found.append(Number(start, end, value, not re.search(r"\d", text[start:end])))
            at = end
    return found


_NOTHING = Fraction(-(10**400))  # a division by zero: no number


def _values(kind: str, written: str) -> list[Fraction | None]:
    """The value of what stands there; two values of "1,20", which may be two numbers."""
    if kind == "arabic":
        parts = written.split(",")
        if len(parts) > 1 and _decimal(written) is None and all(map(str.isdigit, parts)):
            values = [_decimal(part) for part in parts]
            return values if len(set(values)) == len(values) else [None]
        return [_decimal(written)]
    if kind in ("fraction", "cnfraction"):
        return [_chinese_fraction(written)]
    if kind == "english":
        number = english_numerals.parse(written)
        return [None if number is None else Fraction(number)]
    if kind in ("mixed", "han"):
        return [_han(written)]
    return [None]


def _decimal(written: str) -> Fraction | None:
    """Value of digits with separators, if they stand where they should."""
    plain = r"\d+|[1-9]\d{0,2}(?:(?:,\d{3})+|(?:'\d{3})+)|[1-9]\d?(?:,\d{2})+,\d{3}"
    if len(written) > LONGEST or not re.fullmatch(rf"(?:{plain})(?:\.\d+)?|\.\d+", written):
        return None
    return Fraction(re.sub("[,']", "", written))


def _han(written: str) -> Fraction | None:
    written = written.replace(" ", "")
    for digits in re.findall(_DIGITS, written):
        if _decimal(digits) is None:
            return None
    return chinese_numerals.parse(re.sub("[,']", "", written))


def _chinese_fraction(written: str) -> Fraction | None:
    whole, _, rest = written.rpartition("又")
    below, _, above = rest.partition("分之")
    hundreds = {"百": 100, "千": 1000, "万": 10**4}
    parts = [_han(above), Fraction(hundreds.get(below, 0)) or _han(below), _han(whole or "零")]
    if None in parts or not parts[1]:
        return None
    return parts[2] + parts[0] / parts[1]  # type: ignore[operator]


# --- what stands before and behind them ----------------------------------------------------------

_SIGN = re.compile(
    r"(?P<mark>负|零下|\b(?:negative|minus)\s|[-–±])(?P<space>\s*)\$?$", re.IGNORECASE
)
_BOUND = re.compile(
    r"(?:[<>≤≥]|\b(?:more|less|fewer|greater|larger|smaller) than|\bat (?:least|most)|\bup to"
    r"|\bover|\bnearly|\balmost|\bunder|\bpast|\bquarter to"
    # Something is still to be done with the number.
    r"|\b(?:half|third|quarter|fourth|fifth|root|square|cube|sum|product) of"
    r"|\b(?:twice|double|triple)"
    r"|\b(?:log|ln)|根号|平方根|[√|]|(?<!#)#"
    r"|不到|超过|至少|至多|最多|最少|不足|大于|小于|多于|少于)"
    r"\s*(?:or equal to\s*)?-?\$?$",
    re.IGNORECASE,
)
_OPERAND = re.compile(r"(?:[A-Za-z\d)%}\]_]|\d[\u4e00-\u9fff]{1,2}|[\d)%}\]]\s|\b[A-Za-z]\s)$")


def _signed(
    text: str, start: int, after: int, value: Fraction | None
) -> tuple[int, Fraction | None]:
    """Where the number begins with its sign, and its value with it. after: the number before."""
    before = text[after:start]
    if _BOUND.search(before) or re.search(r"[A-Za-z_.第]$", before):
        return start, None  # a bound, an ordinal, or digits that are glued to a word
    sign = _SIGN.search(before)
    if not sign:
        return start, value
    begin = after + sign.start()
    mark, left = sign["mark"].strip().lower(), text[:begin]
    if mark in ("negative", "minus"):
        # "7 minus 5" has no negative number.
        if after and mark == "minus" and len(before) < 16:
            return start, value
    elif mark in "-–" and _OPERAND.search(left):
        # In "20-8" and "12 - 5" it is an operator; in "is-5" and "x -5" it may be either.
        word = re.search(r"[A-Za-z]\s?$", left)
        return start, None if word else value
    elif mark in "–±" or (mark == "-" and (sign["space"] or left.endswith("-"))):
        return begin, None
    return begin, None if value is None else -value


_SCALES = {"hundred": 100, "dozen": 12, **english_numerals.SCALES}
_HALF = (
    r"(?:\s[A-Za-z]+)?\s+and\s+(?:a|one)[\s-]half\b"
    r"|(?:(?![点的一])[\u4e00-\u9fff]){0,2}?半(?![个天日径圆球价数路夜])"
)
_FACTORS: list[tuple[str, Callable[[Fraction, re.Match[str]], Fraction | None]]] = [
    (
        rf"\s?/\s?(-?)(?P<below>{_DIGITS})",
        lambda v, m: None if m[1] else _divided(v, _decimal(m["below"])),
    ),
    (
        r"\s(?P<above>\d+)/(?P<below>\d+)",
        lambda v, m: _with_fraction(v, int(m["above"]), int(m["below"])),
    ),
    (r"\s?(?:%|per\s?cent\b)", lambda v, m: v / 100),
    (rf"\s+(?P<word>{'|'.join(_SCALES)})s?\b", lambda v, m: v * _SCALES[m["word"].lower()]),
    (
        r"\s*[*x]\s*10\s*\^\s*(?:\{\s*(-?\d{1,3})\s*\}|(-?\d{1,3})(?!\d))",
        lambda v, m: v * Fraction(10) ** int(m[1] or m[2]),
    ),
    (r"e([+-]?\d{1,2})(?!\w|\.\d)", lambda v, m: v * Fraction(10) ** int(m[1])),
    (_HALF, lambda v, m: v + Fraction(1, 2) if v.denominator == 1 else None),
]
_TAILS = [(re.compile(pattern, re.IGNORECASE), change) for pattern, change in _FACTORS]
# With these behind it, the digits are only a part of something else.
_UNCERTAIN = re.compile(
    r"\s?:\s?\d+(?::\d+)*|\s?(?:[ap]\.m\.|[ap]m\b|o'clock)|点(?:钟|半|\d+分?)?"  # a time
    r"|\s?\^\s?(?:\{[^{}]*\}|-?\w+)?|\(\d+\)|\.\.+|…|\.?\s?\\(?!boxed)[A-Za-z]+\s*(?:\{[^{}]*\})*"
    r"|(?:\s\d{3})+(?![\d,.]\d|\d)|['_{]\d*|\s?/\s?-?\d+|\s?[√π]\s?\d*|\d+|\.\d+"
    r"|(?:st|nd|rd|th|[ap]m|bn|mn|[A-FI-KM-RT-Zabcdefi-kmn-rt-z])(?![A-Za-z])\d*|\+(?!\s?\d)|-?ish\b"
    r"|\s(?:or\s)?(?:more|less|fewer)\b|\sor so\b|\s(?:squared|cubed|factorial|noon|midnight)\b"
    r"|[\u4e00-\u9fff]?(?:以[上下内]|打(?![\u4e00-\u9fff]))|的(?:平方|立方|一?半|[\d一二两三四五六七八九十]+倍)"
    r"|,?\s*[(\[]?(?:dozen|hundred|thousand|[mb]illion)\b|\s?/\s*(?![A-Za-z\s])"
    r"|!(?=\s*[=*+/^.,)}\]-])"
    r"|\s[kK]\b|[\s-](?:halves|half|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?"
    r"|ninths?|tenths?|hundredths?|thousandths?)\b|(?:\s[A-Za-z]+)?\s+and\s+(?:an?|one|two|three|four)"
    r"[\s-](?:half|quarters?|thirds?|fourths?|fifths?|sixths?|eighths?|tenths?)\b"
    r"|[几余兆‰成折]|[\u4e00-\u9fff]?多(?!少)|来(?!自)|[\u4e00-\u9fff]?半[个天日]|左右|上下"
    r"|(?<=千)[克米瓦卡帕赫]",  # 三千克 may be 3 kg
)


def _with_units(text: str, end: int, value: Fraction | None) -> tuple[int, Fraction | None]:
    """Where the number ends with what belongs to it, and its value with that."""
    divided = False
    while True:
        for pattern, change in _TAILS:
            if not (match := pattern.match(text, end)) or (
                divided and "below" in match.groupdict()
            ):
                continue
            if value is not None and value != _NOTHING:
                value = change(value, match)
            divided = divided or "below" in match.groupdict()
            end = match.end()
            break
        else:
            match = _UNCERTAIN.match(text, end)
            if not match or match.end() == end:
                return end, value
            end, value = match.end(), None


def _divided(value: Fraction, below: Fraction | None) -> Fraction | None:
    return None if below is None else _NOTHING if not below else value / below


def _with_fraction(value: Fraction, above: int, below: int) -> Fraction | None:
    if value.denominator != 1 or not 0 < above < below:
        return None
    return value + Fraction(above, below) if value >= 0 else value - Fraction(above, below)
