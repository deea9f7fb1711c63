"""Scores of attribution in a language model, on the nodes that were patched. No torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from zscope.core.provenance import derive_seed
from zscope.figures.frames import select
from zscope.stats import finite, wilson_interval
from zscope.studies.components.attribution.scores import (
    ScoreRule,
    cell_of,
    correlation,
    correlation_interval,
    permuted,
)
from zscope.tables.schema import Row

CORRELATIONS = {"pearson_top": "top", "pearson_random": "random"}
"""Each with the nodes that it is of."""
ELSEWHERE = "large_elsewhere"
"""Share of the nodes outside the top that have a large effect: its upper end bounds the misses."""


def pretrained_score_rows(nodes: pd.DataFrame, rule: ScoreRule) -> Iterator[Row]:
    """Rows of the table, of one model's patched nodes."""
    for family, rows in nodes.groupby("family", sort=False):
        for metric, chosen in CORRELATIONS.items():
            some = select(rows, chosen=chosen)
            if len(some):
                rng = np.random.default_rng(derive_seed(rule.seed, f"{family} {metric}"))
                yield {"family": family, "metric": metric, **_correlated(some, rule, rng)}
        others = select(rows, chosen="random")
        hits, n = int((others["exact"].abs() > rule.large).sum()), len(others)
        low, high = wilson_interval(hits, n, rule.bootstrap.level)
        yield {
            "family": family,
            "metric": ELSEWHERE,
            **_row(hits / n if n else np.nan, float(low), float(high), np.empty(0), others),
        }


def _correlated(rows: pd.DataFrame, rule: ScoreRule, rng: np.random.Generator) -> Row:
    cell = cell_of(rows, "atp")
    null = correlation(permuted(cell.estimate, rule.draws, rng), cell.effect)
    value = correlation(cell.estimate[None], cell.effect)[0]
    low, high = correlation_interval(cell, rule.bootstrap)
    tails = np.quantile(null, rule.bootstrap.tails) if np.isfinite(null).all() else None
    return _row(value, low, high, null, rows, tails)


def _row(
    value: float,
    low: float,
    high: float,
    null: np.ndarray,
    rows: pd.DataFrame,
    tails: np.ndarray | None = None,
) -> Row:
    return {
        "value": finite(value),
        "ci_low": finite(low),
        "ci_high": finite(high),
        "null": finite(null.mean()) if tails is not None else None,
        "null_low": finite(tails[0]) if tails is not None else None,
        "null_high": finite(tails[1]) if tails is not None else None,
        "n": len(rows),
        "pairs": rows["pair"].nunique(),
    }
