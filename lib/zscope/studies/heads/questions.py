"""What is asked by ablation: the heads that each detector names, and their behaviour. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from zscope.figures.frames import select
from zscope.studies.heads.head_sets import Head, Heads


@dataclass(frozen=True)
class Question:
    """A detector that can be asked whether its heads are needed.

    named: by all rows or by a class of query tokens, on the detector's first stream; ascending.
    by_all_rows: those of them that need no class. own, control: behaviours.
    """

    detector: str
    named: Heads
    by_all_rows: Heads
    own: str
    control: str


def questions_of(
    scores: pd.DataFrame, detectors: pd.DataFrame, own_and_control: Mapping[str, tuple[str, str]]
) -> list[Question]:
    """Of one model: every detector that applies to it and has a behaviour.

    scores, detectors: tables heads_scores and heads_detectors. own_and_control: by detector.
    """
    asked = detectors.loc[detectors["skipped"].isna(), "detector"]
    return [
        Question(
            name,
            named_heads(of := select(scores, detector=name)),
            named_heads(of, by_class=False),
            *own_and_control[name],
        )
        for name in asked
        if name in own_and_control
    ]


def named_heads(scores: pd.DataFrame, *, by_class: bool = True) -> Heads:
    """The heads that a detector names on its first stream; scores: of one model and detector.

    by_class: also those that are named by a class of query tokens alone."""
    if scores.empty:
        return ()
    of_first = scores[(scores["stream"] == scores["stream"].iloc[0]) & scores["names"]]
    named = of_first[of_first["named"] | (by_class & of_first["named_by_class"])]
    found: set[Head] = {
        (int(x), int(h)) for x, h in zip(named["layer"], named["head"], strict=True)
    }
    return tuple(sorted(found))
