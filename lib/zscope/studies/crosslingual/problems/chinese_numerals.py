"""Chinese numerals, also with Arabic digits in them (13万2千).

    number  = [number 亿] [thousands 万] thousands      十亿, 三亿六千万, 三万亿, 一亿亿
    thousands = [d 千] [d 百] [[d] 十 | 廿 | 卅 | 卌] [d]   and 零 before any part but the first

A last digit without its unit is a tenth of the unit before it (两百五 is 250, 三万五 is 35000).
Ranges (两三, 二三十, 十几) are not numerals.
"""

from __future__ import annotations

import re
from fractions import Fraction

DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"两": 2}
TENS = {"廿": 20, "卅": 30, "卌": 40}
CHARACTERS = "".join([*DIGITS, *TENS, *"十百千万亿"])
STANDARD = str.maketrans(
    "〇○壹贰叁肆伍陆柒捌玖拾佰仟萬億兩點負", "零零一二三四五六七八九十百千万亿两点负"
)

_D = "[一二三四五六七八九两]"
_SECTION = re.compile(
    rf"(?:(?P<thousands>{_D})千)?(?:零?(?P<hundreds>{_D})百)?"
    rf"(?:零?(?P<tens>{_D}?十|[廿卅卌]))?(?P<zero>零)?(?P<ones>{_D})?"
)
_ARABIC = re.compile(r"(\d+(?:\.\d+)?)([百千]?)")


def parse(text: str) -> Fraction | None:
    """Value of a numeral; None if the text is not a numeral, or could be read in two ways."""
    text = re.sub(r"(?<![\d.])[1-9](?![\d.])", lambda m: "零一二三四五六七八九"[int(m[0])], text)
    whole, point, decimals = text.translate(STANDARD).partition("点")
    value = _integer(whole)
    if value is None or not point:
        return value
    if not decimals or not set(decimals) <= set(DIGITS) - {"两"}:
        return None
    return value + Fraction(int(_digits(decimals)), 10 ** len(decimals))


def _integer(text: str) -> Fraction | None:
    head, group, tail = text.rpartition("亿" if "亿" in text else "万")
    if not group:
        return _section(text)
    unit = 10**8 if group == "亿" else 10**4
    # 三万亿五千亿 has no reading in this grammar; in 一亿亿 the first 亿 is counted by the second.
    if group == "万" or not head.endswith("亿"):
        above = None if group in head else _integer(head)
    else:
        above = _integer(head)
    if above is None or not above:
        return None
    if not tail:
        return above * unit
    if above.denominator != 1:
        return None
    if tail in DIGITS and tail != "零":
        # 三万五; but 三万亿五 may be 3.5 万亿 or 3 万亿 and 5000 万.
        return None if {"万", "亿"} & set(head) else above * unit + DIGITS[tail] * unit // 10
    rest = _integer(tail.removeprefix("零"))
    if rest is None or not 0 < rest < unit or (tail[0].isdigit() and rest < unit // 10):
        return None
    return above * unit + rest


def _section(text: str) -> Fraction | None:
    """A numeral without 万 and 亿."""
    if match := _ARABIC.fullmatch(text):
        return Fraction(match[1]) * {"": 1, "百": 100, "千": 1000}[match[2]]
    if len(text) > 1 and set(text) <= set(DIGITS):
        # Two digits side by side are a range (两三个, 三五个), or nothing that is written so.
        spelt = "两" not in text and (len(text) > 2 or "零" in text)
        return Fraction(_digits(text)) if spelt else None
    if text == "零":
        return Fraction(0)
    match = _SECTION.fullmatch(text)
    if not text or not match or (match["zero"] and not match["ones"]) or text[0] == "零":
        return None
    thousands, hundreds, tens, ones = match.group("thousands", "hundreds", "tens", "ones")
    value = 1000 * DIGITS.get(thousands, 0) + 100 * DIGITS.get(hundreds, 0)
    if tens:
        value += TENS.get(tens) or 10 * DIGITS.get(tens[:-1], 1)
    implied = 1 if match["zero"] or tens else 10 if hundreds else 100 if thousands else 1
    return Fraction(value + DIGITS.get(ones, 0) * implied)


def _digits(text: str) -> str:
    return "".join(str(DIGITS[c]) for c in text)
