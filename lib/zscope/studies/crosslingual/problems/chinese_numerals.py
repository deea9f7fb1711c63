"""Chinese numerals."""

from __future__ import annotations

from fractions import Fraction

DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
UNITS = {"十": 10, "百": 100, "千": 1000}
GROUPS = {"万": 10**4, "亿": 10**8}
CHARACTERS = "".join([*DIGITS, *UNITS, *GROUPS])


def parse(text: str) -> Fraction | None:
    """Value of a numeral; None if the text is not a numeral.

    Read are 十百千万亿, 〇零两, decimals (三点五), digit strings (二〇二四) and the short forms in
    which the last unit is left out (两百五 is 250, 三万五 is 35000).
    """
    whole, point, decimals = text.partition("点")
    value = _integer(whole)
    if value is None or (point and not (decimals and set(decimals) <= set(DIGITS))):
        return None
    tail = "".join(str(DIGITS[c]) for c in decimals) or "0"
    return value + Fraction(int(tail), 10 ** len(tail))


def _integer(text: str) -> int | None:
    if not text or not set(text) <= set(CHARACTERS):
        return None
    if set(text) <= set(DIGITS):
        return int("".join(str(DIGITS[c]) for c in text))
    total = section = 0
    digit: int | None = None
    # What the next digit stands for if nothing follows it: a tenth of the last unit.
    implied = 1
    for c in text:
        if c in DIGITS:
            if digit is not None and digit != 0:
                return None
            digit = DIGITS[c]
            if digit == 0:
                implied = 1
        elif c in UNITS:
            # 十五 is 15; 百 and 千 need a digit before them, but "百" alone is read as 100.
            section += (digit or 1) * UNITS[c]
            digit, implied = None, UNITS[c] // 10
        else:
            section += digit or 0
            total = (total + (section or 1)) * GROUPS[c]
            section, digit, implied = 0, None, GROUPS[c] // 10
    return total + section + (digit or 0) * implied
