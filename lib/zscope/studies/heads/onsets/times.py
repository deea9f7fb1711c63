"""When a pattern is there, when it matters, and when the behaviour is there. No torch.

    pattern     the mean score of the named heads is above a share of its final one
    effect      that of ablating the named heads together is above a share of its final one, whose
                interval is above 0
    behaviour   the model's excess over the least harm is below a share of its first one

each at several checkpoints in a row. What never sets in is censored at the last checkpoint: the
pattern and the effect of a model in which no head is named as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from zscope.config.base import Bootstrap
from zscope.figures.frames import numbers, select
from zscope.stats import onset
from zscope.studies.heads.tables import (
    BEHAVIOUR_THERE,
    EFFECT,
    EXCESS,
    NAMED,
    PATTERN,
    SCORE,
    SET,
)
from zscope.tables.onset_medians import medians
from zscope.tables.schema import Row

Direction: TypeAlias = Literal["above", "below"]


@dataclass(frozen=True)
class OnsetRule:
    """share: of the final score and effect. excess: of the first excess. consecutive: checkpoints
    in a row."""

    share: float
    excess: float
    consecutive: int


def onset_rows(checkpoints: pd.DataFrame, rule: OnsetRule) -> Iterator[Row]:
    """Rows of table heads_onsets. checkpoints: table heads_checkpoints of one subject."""
    for (model, detector), rows in checkpoints.groupby(["model", "detector"], sort=False):
        where = {"subject": str(rows["subject"].iloc[0]), "model": model, "detector": detector}
        steps = np.sort(rows["step"].unique())
        of_set = select(rows, metric=EFFECT, chosen_by=SET)
        where["heads"] = "" if of_set.empty else str(of_set["heads"].iloc[0])
        named = select(rows, metric=SCORE, chosen_by=NAMED).astype(
            {"value": float, "ci_low": float}
        )
        scores = named.groupby("step", as_index=False)[["value", "ci_low"]].mean()
        yield {**where, **_above(PATTERN, scores, steps, rule)}
        yield {**where, **_above(EFFECT, of_set, steps, rule)}
        of_model = select(rows, metric=EXCESS).sort_values("step")
        if len(of_model):
            yield {**where, **_behaviour(of_model, rule)}


def _above(quantity: str, rows: pd.DataFrame, steps: np.ndarray, rule: OnsetRule) -> Row:
    never = {"quantity": quantity, "onset": None, "threshold": None, "last_step": int(steps[-1])}
    rows = rows.sort_values("step")
    if rows.empty or not numbers(rows["ci_low"])[-1] > 0:
        return never
    threshold = rule.share * float(numbers(rows["value"])[-1])
    return {**never, **_when(rows, threshold, "above", rule)}


def _behaviour(rows: pd.DataFrame, rule: OnsetRule) -> Row:
    threshold = rule.excess * float(numbers(rows["value"])[0])
    when = _when(rows, threshold, "below", rule)
    return {"quantity": BEHAVIOUR_THERE, "last_step": int(rows["step"].iloc[-1]), **when}


def _when(rows: pd.DataFrame, threshold: float, direction: Direction, rule: OnsetRule) -> Row:
    steps, values = rows["step"].to_numpy(int), numbers(rows["value"])
    return {
        "threshold": threshold,
        "onset": onset(steps, values, threshold, direction, rule.consecutive),
    }


def median_rows(onsets: pd.DataFrame, bootstrap: Bootstrap) -> Iterator[Row]:
    """Rows of table heads_onset_medians: Kaplan-Meier medians over the models of a subject.

    A median, or an end of its interval, beyond the last step is null.
    """
    return medians(onsets, ["subject", "detector", "quantity"], bootstrap)
