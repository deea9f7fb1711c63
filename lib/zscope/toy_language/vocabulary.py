"""Tokens of the toy language, and the category of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from zscope.core.errors import DataError
from zscope.toy_language.config import WORDS, LanguageConfig

MARKS = {
    "never": "never",
    "recall": "recall",
    "round": "(",
    "round_close": ")",
    "square": "[",
    "square_close": "]",
    "period": ".",
}
QUOTE = '"'  # the one mark that both opens and closes


@dataclass(frozen=True)
class ToyVocabulary:
    """Tokens and their categories, in the order of the ids."""

    tokens: tuple[str, ...]
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def members(self) -> dict[str, Int[np.ndarray, " words"]]:
        """Ids of every category, ascending."""
        found: dict[str, list[int]] = {}
        for i, category in enumerate(self.categories):
            found.setdefault(category, []).append(i)
        return {category: np.array(ids) for category, ids in found.items()}

    def encode(self, words: Iterable[str]) -> list[int]:
        """Ids of words. Raises DataError for one that is no token."""
        words = list(words)
        if unknown := [w for w in words if w not in self.ids]:
            raise DataError(f"the toy language has no token {unknown[0]!r}")
        return [self.ids[w] for w in words]

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self.tokens[i] for i in ids)


def make_vocabulary(config: LanguageConfig) -> ToyVocabulary:
    """The words of every category, then the marks; 65 tokens by default.

    The tokens of a primitive that is off are kept, so that models with and without it are
    comparable. Only the quotation mark needs its primitive.
    """
    pairs = [(word, c) for c in WORDS for word in config.vocabulary.words(c)]
    pairs += [(mark, c) for c, mark in MARKS.items()]
    if config.on("quote"):
        pairs.append((QUOTE, "quote"))
    tokens, categories = zip(*pairs, strict=True)
    return ToyVocabulary(tokens, categories)
