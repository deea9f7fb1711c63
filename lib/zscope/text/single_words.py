"""Words that a tokenizer writes as one token in the middle of a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

Encode: TypeAlias = Callable[[str], Sequence[int]]
"""A text as ids, without special tokens."""
BEFORE = "and"
"""What stands before a word when it is tried: its first token may depend on the text's start."""


def added_tokens(encode: Encode, text: str) -> list[int] | None:
    """The ids that `text` adds behind BEFORE; None if it changes those before."""
    before, both = list(encode(BEFORE)), list(encode(BEFORE + text))
    return both[len(before) :] if both[: len(before)] == before else None


def single_token(encode: Encode, word: str) -> int | None:
    """The id of the word with a space in front, if it is one token."""
    added = added_tokens(encode, f" {word}")
    return added[0] if added is not None and len(added) == 1 else None


def single_tokens(encode: Encode, words: Iterable[str]) -> dict[str, int]:
    """The words that are one token, each another one, and their ids."""
    found: dict[str, int] = {}
    for word in words:
        token = single_token(encode, word)
        if token is not None and token not in found.values():
            found[word] = token
    return found


def longest_run(encode: Encode, words: Sequence[str]) -> list[int]:
    """The ids of the longest run of words, in their order, that are one token each."""
    best: list[int] = []
    run: list[int] = []
    for word in words:
        token = single_token(encode, word)
        run = [] if token is None or token in run else [*run, token]
        best = max(best, run, key=len)  # the earlier one if they are equal
    return best
