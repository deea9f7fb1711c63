"""Whole numbers from 1 to 999 in English and Chinese words, as the numeral parsers read them."""

from __future__ import annotations

from zscope.studies.crosslingual.problems import chinese_numerals, english_numerals

_ONES = {value: name for name, value in english_numerals.ONES.items()}
_TENS = {value: name for name, value in english_numerals.TENS.items()}
_DIGITS = {value: name for name, value in chinese_numerals.DIGITS.items() if name != "两"}


def spell_english(number: int) -> str:
    """As in "forty-two", "two hundred and five". Raises ValueError outside 1 to 999."""
    _check(number)
    hundreds, rest = divmod(number, 100)
    parts = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest in _ONES and rest:
        parts.append(_ONES[rest])
    elif rest:
        tens, ones = rest // 10 * 10, rest % 10
        parts.append(_TENS[tens] + (f"-{_ONES[ones]}" if ones else ""))
    return " and ".join(parts)


def spell_chinese(number: int) -> str:
    """As in 十二, 四十二, 二百零五, 二百一十五. Raises ValueError outside 1 to 999."""
    _check(number)
    hundreds, rest = divmod(number, 100)
    tens, ones = divmod(rest, 10)
    text = f"{_DIGITS[hundreds]}百" if hundreds else ""
    if tens:
        text += ("" if tens == 1 and not hundreds else _DIGITS[tens]) + "十"
    elif hundreds and ones:
        text += "零"
    return text + (_DIGITS[ones] if ones else "")


def _check(number: int) -> None:
    if not 1 <= number <= 999:
        raise ValueError(f"{number} is not among the spelt numbers, 1 to 999")
