"""The bootstrap draws of a job, made once for each number of units: they are the dearest part."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_interval, bootstrap_weights


class Resampling:
    """Intervals with draws that are shared between calls with as many units."""

    def __init__(self, bootstrap: Bootstrap, name: str) -> None:
        self.bootstrap, self._name = bootstrap, name
        self._made: dict[int, Float[np.ndarray, "resamples n"]] = {}

    def weights(self, n: int) -> Float[np.ndarray, "resamples n"]:
        if n not in self._made:
            rng = np.random.default_rng(derive_seed(self.bootstrap.seed, f"{self._name} {n}"))
            self._made[n] = bootstrap_weights(n, self.bootstrap.resamples, rng)
        return self._made[n]

    def interval(
        self,
        values: Float[np.ndarray, " n"],
        denominator: Float[np.ndarray, " n"] | None = None,
    ) -> tuple[float, float]:
        """Ends of the interval of the mean, or of a ratio of means."""
        low, high = bootstrap_interval(
            values, denominator, bootstrap=self.bootstrap, weights=self.weights(len(values))
        )
        return float(low), float(high)
