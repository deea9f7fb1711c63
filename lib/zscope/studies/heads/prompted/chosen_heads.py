"""Which heads are ablated at one position: the named ones of each detector, the best first. No
torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from zscope.figures.frames import numbers, select
from zscope.studies.heads.head_sets import Head, Heads
from zscope.studies.heads.questions import named_heads

PREVIOUS = "previous"


@dataclass(frozen=True)
class NamedSet:
    """Heads of a detector, by falling score; of one that is named by a class, its score there.

    named: whether the detector names them, or only scores them highest.
    """

    detector: str
    heads: Heads
    named: bool = True


def named_sets(scores: pd.DataFrame) -> list[NamedSet]:
    """The sets of one model, that of the previous-token detector first.

    Where that detector names no head, the head that it scores highest stands in its place. scores:
    table heads_scores, of the model.
    """
    found = []
    for detector in sorted(scores["detector"].unique(), key=lambda name: name != PREVIOUS):
        rows = select(scores, detector=detector)
        named = named_heads(rows)
        ranked = [head for head in _ranked(rows) if head in named]
        if ranked:
            found.append(NamedSet(detector, tuple(ranked)))
        elif detector == PREVIOUS and (best := _ranked(rows)[:1]):
            found.append(NamedSet(detector, tuple(best), named=False))
    return found


def _ranked(rows: pd.DataFrame) -> list[Head]:
    """Heads with a score on the detector's first stream."""
    first = rows[(rows["stream"] == rows["stream"].iloc[0]) & rows["names"].astype(bool)]
    by_class = first["named_by_class"].to_numpy(bool) & ~first["named"].to_numpy(bool)
    score = np.where(by_class, numbers(first["class_value"]), numbers(first["value"]))
    places = np.argsort(-score, kind="stable")  # NaN comes last
    heads = list(zip(first["layer"].astype(int), first["head"].astype(int), strict=True))
    return [heads[i] for i in places if np.isfinite(score[i])]
