"""Words that attention heads are asked about: ordinals, names, other words, and IOI sentences.

Each list is a file in `lists/`, with an id for each class or sentence. They hold words, not tokens:
which words are tokens is a fact about a tokenizer. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("lists")
FILES = tuple(_FOLDER / f"{name}.json" for name in ("ioi", "names", "ordinals", "words"))
"""All lists: the inputs of a rule that reads them, whose digest of code does not see them."""
SLOTS = ("first", "second", "subject")
"""The places of an IOI sentence: the two names as they are first mentioned, and the subject."""


def ordinals() -> Mapping[str, tuple[str, ...]]:
    """The words of each ordinal class, in their order; by the class's id."""
    return {name: tuple(words) for name, words in _read("ordinals").items()}


def names() -> tuple[str, ...]:
    """First names."""
    return tuple(_read("names"))


def plain_words() -> tuple[str, ...]:
    """Short common words without an order among them."""
    return tuple(_read("words"))


def ioi_sentences() -> Mapping[str, str]:
    """Sentences with the places SLOTS in braces, which a name would continue; by their id.

    Wang et al. 2023: whoever of the first two names is not the subject is the indirect object.
    """
    return dict(_read("ioi"))


def _read(name: str) -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
