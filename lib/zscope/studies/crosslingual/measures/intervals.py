"""Intervals over problems, and bands of a null, as columns of a measurement. No torch."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_weights, finite
from zscope.tables.schema import Row
from zscope.verdicts import LEAST_DRAWS

NO_NULL: Row = {
    "null": None,
    "null_mean": None,
    "null_low": None,
    "null_high": None,
    "draws": None,
    "matched_on": None,
}
NO_INTERVAL: Row = {"ci_low": None, "ci_high": None}


@dataclass(frozen=True)
class Resamples:
    """The config's bootstrap of n problems: the same resamples for every measurement of them."""

    bootstrap: Bootstrap
    n: int

    @cached_property
    def weights(self) -> Float[np.ndarray, "resamples n"]:
        """Share of each problem in each resample; both languages of a problem go together."""
        rng = np.random.default_rng(derive_seed(self.bootstrap.seed, "problems"))
        return bootstrap_weights(self.n, self.bootstrap.resamples, rng)

    def interval(self, statistic: Float[np.ndarray, " resamples"]) -> Row:
        """Percentile interval of a statistic's values in the resamples; undefined ones are left
        out. Null if there is one problem, or if none of them is defined."""
        low, high = quantiles(statistic, self.bootstrap) if self.n > 1 else (None, None)
        return {"ci_low": low, "ci_high": high}

    def of_mean(self, values: Float[np.ndarray, " n"]) -> Row:
        """Interval of the mean of one value per problem."""
        return self.interval(self.weights @ values)


def null_band(
    name: str,
    values: ArrayLike,
    bootstrap: Bootstrap,
    *,
    matched_on: str | None = None,
    draws: int | None = None,
) -> Row:
    """Columns of a null: the mean of its values and, from LEAST_DRAWS draws on, their band.

    matched_on: the states whose energy the draws hold as Z does, in words. draws: how many there
    are, where a draw has several values; by default each value is a draw of its own.
    """
    drawn = np.asarray(values, dtype=np.float64)
    number = drawn.size if draws is None else draws
    low, high = band(drawn, number, bootstrap)
    return {
        "null": name,
        "null_mean": finite(drawn.mean()),
        "null_low": low,
        "null_high": high,
        "draws": number,
        "matched_on": matched_on,
    }


def band(
    values: Float[np.ndarray, "*n"], draws: int, bootstrap: Bootstrap
) -> tuple[float | None, float | None]:
    """Ends of the central interval of draws; null if they are too few for a band."""
    return quantiles(values, bootstrap) if draws >= LEAST_DRAWS else (None, None)


def chance_null(value: float) -> Row:
    """Columns of an analytic null."""
    return {**NO_NULL, "null": "chance", "null_mean": value}


def quantiles(
    values: Float[np.ndarray, "*n"], bootstrap: Bootstrap
) -> tuple[float | None, float | None]:
    """Ends of the central interval of the values that are not NaN; null if all are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # null is the answer
        low, high = np.nanquantile(values, bootstrap.tails)
    return finite(low), finite(high)
