"""How often answers are right without patching: rows of crosslingual_accuracy. No torch.

accuracy        share of the problems that are answered right, of all and of each category
only_right      problems that are right in this language alone
mcnemar_p       exact McNemar test of Chinese against English on the same problems
exact_accuracy  while the embedded model is trained: share of exact sentences
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from zscope.figures.frames import select
from zscope.stats import mcnemar_exact, wilson_interval
from zscope.studies.crosslingual.measures.intervals import NO_INTERVAL
from zscope.tables.schema import Row


def answer_rows(outputs: pd.DataFrame, level: float) -> Iterator[Row]:
    """Of the unpatched outputs of one model, without the model."""
    rows = select(outputs, space="none", design="none")
    rows = rows.assign(language=rows["direction"].str.rpartition("->")[2].to_numpy())
    for language, own in rows.groupby("language", sort=False):
        yield _rate("accuracy", "all", str(language), own["correct"], level)
        for category, part in own.groupby("category"):
            yield _rate("accuracy", str(category), str(language), part["correct"], level)
    right = rows.pivot(index="problem", columns="language", values="correct").dropna()
    if not {"zh", "en"} <= set(right.columns):
        return
    zh, en = (right[language].to_numpy(bool) for language in ("zh", "en"))
    for metric, language, value in (
        ("only_right", "zh", np.sum(zh & ~en)),
        ("only_right", "en", np.sum(en & ~zh)),
        ("mcnemar_p", "both", mcnemar_exact(zh, en)),
    ):
        yield _row(metric, "all", language, float(value), len(right)) | NO_INTERVAL


def training_rows(training: pd.DataFrame, level: float) -> Iterator[Row]:
    """Of the evaluations of one training, without the model."""
    for row in select(training, metric="exact_accuracy").to_dict("records"):
        value, n = row["value"], row["n"]
        found = _row(row["metric"], "all", row["language"], value, n) | {"step": row["step"]}
        yield found | _wilson(value, n, level)


def _rate(metric: str, category: str, language: str, right: pd.Series, level: float) -> Row:
    value, n = float(right.mean()), len(right)
    return _row(metric, category, language, value, n) | _wilson(value, n, level)


def _row(metric: str, category: str, language: str, value: float, n: int) -> Row:
    what = {"metric": metric, "step": None, "category": category, "language": language}
    return what | {"value": value, "n": n}


def _wilson(value: float, n: int, level: float) -> Row:
    low, high = wilson_interval(round(value * n), n, level)
    return {"ci_low": float(low), "ci_high": float(high)}
