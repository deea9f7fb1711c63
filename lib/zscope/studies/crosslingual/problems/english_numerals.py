"""English numerals in words (fifty-nine, two hundred and five thousand)."""

from __future__ import annotations

import re

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ONES = {word: i for i, word in enumerate(_SMALL)}
TENS = {word: 10 * i for i, word in enumerate(_TENS, start=2)}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_WORDS = "|".join([*_SMALL[::-1], *_TENS, "hundred", *SCALES])
# "one" is most often no number (one of them, the one that): it needs the end of its clause.
NUMERAL = (
    rf"\b(?!hundred|{'|'.join(SCALES)})(?!one\b(?!\s*(?:[-.,;:!?)]|$|hundred|{'|'.join(SCALES)})))"
    rf"(?:{_WORDS})(?:(?:-|\s+(?:and\s+)?)(?:{_WORDS}))*\b"
)


def parse(text: str) -> int | None:
    """Value of a numeral; None if the words are not one numeral ("two three")."""
    total, section, room = 0, 0, 10**15  # the next part must be smaller than `room`
    limit = 10**15
    for word in re.split(r"-|\s+(?:and\s+)?", text.lower()):
        if word in SCALES:
            if not section or SCALES[word] >= limit:
                return None
            limit = SCALES[word]
            total, section, room = total + section * limit, 0, 10**15
        elif word == "hundred":
            if not 0 < section < 10:
                return None
            section, room = section * 100, 100
        else:
            part = ONES.get(word, TENS.get(word))
            if part is None or part >= room or (part == 0 and (section or total)):
                return None
            section, room = section + part, 10 if word in TENS else 0
    return total + section
