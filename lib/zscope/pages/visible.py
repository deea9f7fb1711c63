"""Tokens that can be seen: blanks, control and format characters, and lone accents have signs.

No two texts look the same: a character that is itself one of the signs is written as its number.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

SIGNS = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}  # ␣ ↵ ⇥
OPEN, CLOSE = "\u27e8", "\u27e9"  # ⟨U+200B⟩
_WRITTEN = frozenset({*SIGNS.values(), OPEN, CLOSE})
# Letters and marks that are drawn as nothing (Default_Ignorable_Code_Point beyond category Cf).
_EMPTY = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_MOST = 12  # code points in a title


def visible(text: str) -> str:
    """The text with a sign for every character that is not seen, turns text around, or joins what
    stands before it; ⟨⟩ for no text at all."""
    return "".join(_characters(text)) or OPEN + CLOSE


def _characters(text: str) -> Iterator[str]:
    alone = True  # whether an accent would stand on nothing
    for character in text:
        if character in SIGNS:
            yield SIGNS[character]
            alone = True
        elif _hidden(character) or (alone and unicodedata.category(character)[0] == "M"):
            yield f"{OPEN}{code_point(character)}{CLOSE}"
            alone = True
        else:
            yield character
            alone = False


def _hidden(character: str) -> bool:
    selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0000" <= character <= "\U000e0fff"
    return not character.isprintable() or character in _WRITTEN | _EMPTY or selector


def code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def is_plain(text: str) -> bool:
    """Whether every character is a printable one of ASCII, blanks between and before words too."""
    return text.isascii() and text.isprintable() and text != ""


def token_title(text: str, token_id: int) -> str:
    """The id of a token and, unless it is plain ASCII, the numbers of its characters."""
    if is_plain(text):
        return f"token {token_id}"
    points = " ".join(code_point(c) for c in text[:_MOST]) + " \u2026" * (len(text) > _MOST)
    return f"token {token_id}: {points or 'no text'}"
