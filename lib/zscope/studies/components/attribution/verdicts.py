"""The declared rule: does a method find what exhaustive patching finds? No torch.

Of one training and one kind and layer, over all primitives, three parts:

    the interval of pearson is at or above `least_r`
    the interval of false_negatives is at or below `most_missed`
    pearson ranks above the permuted estimates, p < alpha, with LEAST_DRAWS draws or more

found: all three. not found: one is refuted (its interval is on the other side, or the rank does not
reach alpha although the draws allow it). Else it cannot be told. A method as a whole is found if it
is in every kind and layer, and not found if it is not in one. Over trainings: docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zscope.figures.frames import numbers, select
from zscope.studies.components.attribution.scores import ALL, MISSED, PEARSON
from zscope.studies.components.words import WORDS, tally_of
from zscope.tables.schema import Row
from zscope.verdicts import (
    LEAST_DRAWS,
    UNKNOWN,
    Answer,
    all_of,
    at_least,
    least_rank_p,
    over_trainings,
    yes,
)


@dataclass(frozen=True)
class FindRule:
    """The bounds of the rule above."""

    least_r: float
    most_missed: float
    alpha: float


def found_in(scores: pd.DataFrame, rule: FindRule) -> Answer:
    """scores: the rows of one training, method, kind and layer, over all primitives."""
    r, missed = select(scores, metric=PEARSON), select(scores, metric=MISSED)
    if len(r) != 1 or len(missed) != 1:
        return UNKNOWN
    r_low, r_high = (float(numbers(r[c])[0]) for c in ("ci_low", "ci_high"))
    low, high = (float(numbers(missed[c])[0]) for c in ("ci_low", "ci_high"))
    return all_of(
        [
            at_least(r_low, r_high, rule.least_r),
            at_least(1 - high, 1 - low, 1 - rule.most_missed),
            _ranks(float(numbers(r["p"])[0]), int(r["draws"].iloc[0]), rule.alpha),
        ]
    )


def _ranks(p: float, draws: int, alpha: float) -> Answer:
    if np.isnan(p) or draws < LEAST_DRAWS or least_rank_p(draws) >= alpha:
        return UNKNOWN
    return yes(p < alpha)


def summary_rows(scores: pd.DataFrame, rule: FindRule) -> Iterator[Row]:
    """One row per subject, method, kind and layer, and one for the method over all of them.

    Column layer is null in the latter. scores: of all subjects and trainings.
    """
    rows = select(scores, primitive=ALL)
    rows = rows[rows["kind"] != ALL]
    for (subject, method), of_method in rows.groupby(["subject", "method"], sort=False):
        answers: dict[tuple[str, int | None], list[Answer]] = {}
        for _, of_model in of_method.groupby("model", sort=False):
            of_cells = {
                (str(some["kind"].iloc[0]), int(some["layer"].iloc[0])): found_in(some, rule)
                for _, some in of_model.groupby(["kind", "layer"], sort=False)
            }
            for cell, answer in of_cells.items():
                answers.setdefault(cell, []).append(answer)
            answers.setdefault((ALL, None), []).append(all_of(of_cells.values()))
        for (kind, layer), given in answers.items():
            some = of_method if layer is None else select(of_method, kind=kind, layer=layer)
            yield {
                "subject": subject,
                "method": method,
                "kind": kind,
                "layer": layer,
                "verdict": WORDS[over_trainings(given)],
                "trainings": tally_of(given),
                "least_pearson": _extreme(select(some, metric=PEARSON), "min"),
                "most_missed": _extreme(select(some, metric=MISSED), "max"),
                "models": len(given),
            }


def _extreme(rows: pd.DataFrame, which: str) -> float | None:
    values = numbers(rows["value"])
    values = values[np.isfinite(values)]
    return float(getattr(values, which)()) if len(values) else None
