"""Sentences with an indirect object, and ABC controls, as ids (Wang et al. 2023).

"When Mary and John went to the store, John gave a drink to" goes on with Mary, the indirect object
(IO); John is the subject, first mentioned at S1 and again at S2. In the ABC control a third name
stands at S2. A sentence is encoded once, and names are put into its places as ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from zscope.core.errors import DataError
from zscope.studies.heads.streams import Stream
from zscope.text.ioi_sentences import Sentence

ORDERS = ("io_first", "subject_first")


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
