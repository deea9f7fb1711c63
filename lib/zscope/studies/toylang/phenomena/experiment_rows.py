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
        measured = {"value": float(np.mean(values)), "truth": exact, "n": len(values)}
        return self._row(case, metric, x, *map(float, interval), **measured)

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
        measured = {"value": float(hits.mean()), "truth": float(truth.mean()), "n": len(hits)}
        return self._row(case, metric, x, *map(float, interval), **measured)

    def measured(self, case: str, metric: str, row: Row) -> Row:
        """A row of ToyEvaluation.by_primitive under another name."""
        measured = {"value": row["value"], "truth": None, "n": row["n"]}
        return self._row(case, metric, None, row["ci_low"], row["ci_high"], **measured)

    def _row(
        self,
        case: str,
        metric: str,
        x: float | None,
        ci_low: float | None,
        ci_high: float | None,
        **measured: Any,
    ) -> Row:
        known = {"experiment": self.experiment, "case": case, "metric": metric, "x": x}
        return {**known, "ci_low": ci_low, "ci_high": ci_high, **measured}
