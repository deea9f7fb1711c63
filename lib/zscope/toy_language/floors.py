"""How often each primitive of the toy language governs, and the least loss of any model there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_interval, bootstrap_weights
from zscope.tables.schema import Row
from zscope.toy_language.distributions import LABEL_ID, LABELS
from zscope.toy_language.language import ToyLanguage


def floor_rows(
    language: ToyLanguage, n: int, rng: np.random.Generator, bootstrap: Bootstrap
) -> list[Row]:
    """Metrics of every primitive that governs a token of `n` sampled sequences, and of `all`.

    frequency: share of all positions, position 0 included. floor: mean entropy where the primitive
    governs, the lowest possible loss. nll: mean -log p of the sampled tokens there. gap: nll -
    floor, which differs from 0 by chance alone. `all` is every position but 0, which no model
    predicts. Standard errors are of a ratio of means over sequences (Cochran 1977, sec. 6.3),
    intervals are bootstrapped over sequences. Raises DataError for fewer than two sequences.
    """
    if n < 2:
        raise DataError(f"a standard error needs 2 sequences, not {n}")
    sample = language.sample(n, rng)
    nll = -np.log(language.distributions.p[language.rows(sample.tokens), sample.tokens])
    masks = {name: sample.labels == LABEL_ID[name] for name in LABELS}
    masks["all"] = np.broadcast_to(np.arange(language.config.length) > 0, sample.labels.shape)
    draws = np.random.default_rng(derive_seed(bootstrap.seed, "toy floors"))
    weights = bootstrap_weights(n, bootstrap.resamples, draws)
    positions = np.full(n, float(language.config.length))
    rows = []
    for name, mask in masks.items():
        count = mask.sum(axis=1).astype(float)
        if not count.any():
            continue
        entropy, loss = ((values * mask).sum(axis=1) for values in (sample.entropy, nll))
        gap = ((nll - sample.entropy) * mask).sum(axis=1)
        for metric, total, per in (
            ("frequency", count, positions),
            ("floor", entropy, count),
            ("nll", loss, count),
            ("gap", gap, count),
        ):
            low, high = bootstrap_interval(total, per, bootstrap=bootstrap, weights=weights)
            rows.append(
                {
                    "primitive": name,
                    "metric": metric,
                    "value": float(total.sum() / per.sum()),
                    "se": _standard_error(total, per),
                    "ci_low": float(low),
                    "ci_high": float(high),
                    "n": int(count.sum()),
                }
            )
    return rows


def _standard_error(total: Float[np.ndarray, " n"], per: Float[np.ndarray, " n"]) -> float:
    """Of sum(total) / sum(per), over sequences."""
    residual = total - total.sum() / per.sum() * per
    return float(residual.std(ddof=1) / len(total) ** 0.5 / per.mean())
