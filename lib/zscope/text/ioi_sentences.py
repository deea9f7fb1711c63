"""Sentences with an indirect object, encoded once with places for names (Wang et al. 2023).

"When Mary and John went to the store, John gave a drink to" goes on with Mary, the indirect object
(IO); John is the subject, first mentioned at S1 and again at S2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zscope.core.errors import DataError
from zscope.text.single_words import Encode
from zscope.text.word_lists import SLOTS


@dataclass(frozen=True)
class Sentence:
    """An encoded sentence. at: where the two names and the subject stand, in the order of SLOTS."""

    name: str
    ids: tuple[int, ...]
    at: tuple[int, int, int]


def encode_sentence(
    encode: Encode, name: str, template: str, names: Mapping[str, int]
) -> Sentence | None:
    """The sentence, if its names are tokens of their own that change nothing around them.

    names: single-token names and their ids. Tried with two fillings of different names; None if a
    name's id is not at one place, or if anything else differs. Raises DataError for fewer than 6.
    """
    if len(names) < 2 * len(SLOTS):
        raise DataError(f"{len(names)} single-token names, but a sentence is tried with 6")
    found = []
    words = list(names)
    for filling in (words[:3], words[3:6]):
        ids = list(encode(template.format(**dict(zip(SLOTS, filling, strict=True)))))
        at = [[i for i, token in enumerate(ids) if token == names[w]] for w in filling]
        if any(len(places) != 1 for places in at):
            return None
        first, second, subject = (places[0] for places in at)
        for place in (first, second, subject):
            ids[place] = -1
        found.append(Sentence(name, tuple(ids), (first, second, subject)))
    return found[0] if found[0] == found[1] else None
