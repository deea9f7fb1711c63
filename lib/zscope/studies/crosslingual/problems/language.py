"""The language of a generated text, and whether it only repeats itself."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Language = Literal["en", "zh", "mixed", "none", "undetermined"]

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
