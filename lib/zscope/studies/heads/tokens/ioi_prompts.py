"""Sentences with an indirect object, and ABC controls, as ids (Wang et al. 2023).

"When Mary and John went to the store, John gave a drink to" goes on with Mary, the indirect object
(IO); John is the subject, first mentioned at S1 and again at S2. In the ABC control a third name
stands at S2. A sentence is encoded once, and names are put into its places as ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from zscope.core.errors import DataError
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.tokens.single_words import Encode
from zscope.text.word_lists import SLOTS

ORDERS = ("io_first", "subject_first")


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


def ioi_streams(
    sentences: Sequence[Sentence],
    names: Sequence[int],
    n: int,
    *,
    front: Sequence[int],
    seed: int,
) -> list[tuple[Stream, Stream]]:
    """For each sentence n prompts "ioi" and their controls "abc", half of them in each order.

    A prompt and its control differ at S2 alone. Marks: io, s1, s2, end. Both streams of a pair have
    the same length, those of different sentences need not. Raises DataError for fewer than three
    names, or an odd n, which would leave one order more often.
    """
    if len(names) < 3:
        raise DataError(f"{len(names)} names, but an ABC control needs three")
    if n % 2:
        raise DataError(f"{n} prompts of a sentence: an odd number has one order more often")
    rng = np.random.default_rng(seed)
    return [_prompts(s, names, n, front, rng) for s in sentences]


def _prompts(
    sentence: Sentence, names: Sequence[int], n: int, front: Sequence[int], rng: np.random.Generator
) -> tuple[Stream, Stream]:
    shift = len(front)
    first, second, s2 = (place + shift for place in sentence.at)
    ids = torch.tensor([*front, *sentence.ids]).repeat(n, 1)
    marks = {x: torch.zeros(ids.shape, dtype=torch.bool) for x in ("io", "s1", "s2", "end")}
    control = ids.clone()
    for i in range(n):
        io, subject, third = (names[k] for k in rng.permutation(len(names))[:3])
        io_at, s1_at = (first, second) if i % 2 == 0 else (second, first)
        for row, at_s2 in ((ids[i], subject), (control[i], third)):
            row[io_at], row[s1_at], row[s2] = io, subject, at_s2
        for mark, place in (("io", io_at), ("s1", s1_at), ("s2", s2), ("end", ids.shape[1] - 1)):
            marks[mark][i, place] = True
    return Stream("ioi", ids, marks), Stream("abc", control, marks)
