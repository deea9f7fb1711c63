"""Which heads are followed over the checkpoints of a training, and which checkpoints. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from zscope.figures.frames import select
from zscope.studies.heads.head_sets import Head, Heads
from zscope.studies.heads.questions import questions_of

EARLY = 0.01


@dataclass(frozen=True)
class Followed:
    """A head that a detector names at the last step, and what its score is of.

    query_class: the class of query tokens in which it scores best, if that class names it, too;
    None: all rows. offset: of the best detector of a family of offsets; None: no family.
    """

    head: Head
    query_class: str | None
    offset: int | None


@dataclass(frozen=True)
class Following:
    """The heads that a detector names at the last step, ascending; none: it names nobody.

    stream: the one that it names them on. own, control: the behaviours that they are ablated for.
    """

    detector: str
    stream: str
    heads: tuple[Followed, ...]
    own: str
    control: str

    @property
    def named(self) -> Heads:
        return tuple(f.head for f in self.heads)

    @property
    def offsets(self) -> set[int | None]:
        return {f.offset for f in self.heads}


def following(
    scores: pd.DataFrame, detectors: pd.DataFrame, own_and_control: Mapping[str, tuple[str, str]]
) -> list[Following]:
    """Of one model: every detector that applies to it and has a behaviour.

    scores, detectors: tables heads_scores and heads_detectors. own_and_control: by detector.
    """
    found = []
    for q in questions_of(scores, detectors, own_and_control):
        rows = select(scores, detector=q.detector)
        stream = str(rows["stream"].iloc[0])
        naming = select(rows, stream=stream, names=True).set_index(["layer", "head"])
        heads = tuple(_followed(head, naming.loc[[head]].iloc[0]) for head in q.named)
        found.append(Following(q.detector, stream, heads, q.own, q.control))
    return found


def _followed(head: Head, row: pd.Series) -> Followed:
    query_class = str(row["best_class"]) if row["named_by_class"] else None
    # A class is of the first detector of a family, and families have none.
    return Followed(head, query_class, None if pd.isna(row["offset"]) else int(row["offset"]))


def spread_steps(steps: Sequence[int], most: int) -> tuple[int, ...]:
    """At most so many of the steps, the first and the last among them, evenly on a log scale that
    is linear up to EARLY of the last: little happens before.

    The step whose neighbours are nearest to each other goes first. steps: ascending, from 0.
    """
    kept, early = list(steps), max(1.0, EARLY * steps[-1])
    while len(kept) > max(most, 2):
        gaps = [
            math.log1p(after / early) - math.log1p(before / early)
            for before, after in zip(kept, kept[2:], strict=False)
        ]
        del kept[1 + gaps.index(min(gaps))]
    return tuple(kept)
