"""Rows of the table of the three experiments: means and rates with intervals and truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_interval, wilson_interval
from zscope.tables.schema import Row


@dataclass(frozen=True)
class ExperimentRows:
    """Makes rows of toylang_phenomena of one experiment, without condition and seed."""

    experiment: str
    bootstrap: Bootstrap

    def mean(
        self,
        case: str,
        metric: str,
        values: Float[np.ndarray, " n"],
        truth: Float[np.ndarray, " n"] | None,
        x: float | None = None,
    ) -> Row:
        """The mean over prefixes with its bootstrap interval, and the mean of the truth."""
        name = f"{self.experiment}/{case}/{metric}/{x}"
        rng = np.random.default_rng(derive_seed(self.bootstrap.seed, name))
        interval = bootstrap_interval(values, bootstrap=self.bootstrap, rng=rng)
        exact = None if truth is None else float(np.mean(truth))
        return self._row(case, metric, x, float(np.mean(values)), interval, exact, len(values))

    def rate(
        self,
        case: str,
        metric: str,
        hits: Bool[np.ndarray, " n"],
        truth: Bool[np.ndarray, " n"],
        x: float | None = None,
    ) -> Row:
        """The share of prefixes with its Wilson interval: a bootstrap of n/n has no width."""
        interval = wilson_interval(hits.sum(), len(hits), self.bootstrap.level)
        found, exact = float(hits.mean()), float(truth.mean())
        return self._row(case, metric, x, found, interval, exact, len(hits))

    def measured(self, case: str, metric: str, row: Row) -> Row:
        """A row of ToyEvaluation.by_primitive under another name."""
        interval = row["ci_low"], row["ci_high"]
        return self._row(case, metric, None, row["value"], interval, None, row["n"])

    def _row(
        self,
        case: str,
        metric: str,
        x: float | None,
        value: float,
        interval: tuple[Any, Any],
        truth: float | None,
        n: int,
    ) -> Row:
        low, high = (None if end is None else float(end) for end in interval)
        return {
            "experiment": self.experiment,
            "case": case,
            "x": x,
            "metric": metric,
            "value": value,
            "ci_low": low,
            "ci_high": high,
            "truth": truth,
            "n": n,
        }
