"""What the rows of the measurements share: intervals over problems, and bands of a null."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_weights

Row = dict[str, Any]
NO_NULL: Row = {"null": None, "null_mean": None, "null_low": None, "null_high": None}
NO_INTERVAL: Row = {"ci_low": None, "ci_high": None}


@dataclass(frozen=True, eq=False)
class Resamples:
    """Bootstrap resamples of the problems, the same for every measurement of a job.

    weights: share of each problem in each resample; both languages of a problem go together.
    """

    weights: Float[np.ndarray, "resamples n"]
    level: float

    @classmethod
    def of(cls, bootstrap: Mapping[str, Any], n: int) -> Resamples:
        """bootstrap: the config's section: level, resamples, seed."""
        rng = np.random.default_rng(derive_seed(bootstrap["seed"], "problems"))
        weights = bootstrap_weights(n, bootstrap["resamples"], rng)
        return cls(weights, bootstrap["level"])

    def interval(self, statistic: Float[np.ndarray, " resamples"]) -> Row:
        """Percentile interval of a statistic's values in the resamples; undefined ones are left
        out. Null if there is one problem, or none of them is defined."""
        low, high = quantiles(statistic, self.level)
        known = self.weights.shape[1] > 1
        return {"ci_low": low if known else None, "ci_high": high if known else None}

    def of_mean(self, values: Float[np.ndarray, " n"]) -> Row:
        """Interval of the mean of a value a problem."""
        return self.interval(self.weights @ values)


def null_band(name: str, draws: Float[Tensor, " draws"], level: float) -> Row:
    """Columns of a null: mean and central interval of its draws."""
    values = draws.numpy()
    low, high = quantiles(values, level)
    return {"null": name, "null_mean": finite(values.mean()), "null_low": low, "null_high": high}


def chance_null(value: float) -> Row:
    """Columns of an analytic null."""
    return {"null": "chance", "null_mean": value, "null_low": None, "null_high": None}


def quantiles(values: Float[np.ndarray, " n"], level: float) -> tuple[float | None, float | None]:
    """Ends of the central share `level` of the values that are not NaN; null if all are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # null is the answer
        low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return finite(low), finite(high)


def finite(value: float) -> float | None:
    """The value, or null if it is undefined (0/0) or infinite."""
    return float(value) if math.isfinite(value) else None
