"""Scores of heads from sums: value, null, interval over sequences, and p of sign flips.

    score = (raw - null) / (1 - null)

is a ratio of sums over sequences, sum_b (a_b - c_b) / sum_b (r_b - c_b), with a_b, r_b and c_b the
hits, the rows and the null's hits of sequence b, each in shares of all rows. The bootstrap
resamples sequences with the null inside. p flips the signs of a_b - c_b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from zscope.config.base import Bootstrap
from zscope.stats import bootstrap_interval, random_sign_flips
from zscope.studies.heads.sums import ClassSums, Sums

ALL_ON_TARGET = 1 - 1e-9
"""A null above this leaves nothing to score: 0/0."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Of every head, or head and class; NaN where undefined, in all of them but raw, null and rows.

    Undefined: no eligible rows, a null of 1, or a mismatch null whose targets are the same in every
    sequence. p is two-sided; rows: the eligible ones; n: sequences that have any.
    """

    raw: Float[np.ndarray, "layer head *class"]
    null: Float[np.ndarray, "layer head *class"]
    score: Float[np.ndarray, "layer head *class"]
    low: Float[np.ndarray, "layer head *class"]
    high: Float[np.ndarray, "layer head *class"]
    p: Float[np.ndarray, "layer head *class"]
    rows: Float[np.ndarray, "layer head *class"]
    n: Float[np.ndarray, "layer head *class"]


def score(sums: Sums, *, bootstrap: Bootstrap, flips: int) -> Scores:
    """Scores from sums. flips: most random sign flips. ValueError for sums without a null."""
    if sums.null_hits is None or sums.null_rows is None:
        raise ValueError("sums without a null have no score: join them with those of the control")
    shape = sums.hits.shape
    hits, rows, null_hits, null_rows = (
        np.broadcast_to(x, shape).reshape(shape[0], -1).astype(np.float64)
        for x in (sums.hits, sums.rows, sums.null_hits, sums.null_rows)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        a, r, c = hits / rows.sum(0), rows / rows.sum(0), null_hits / null_rows.sum(0)
        raw, null = a.sum(0), c.sum(0)
        value = (raw - null) / (1 - null)
    defined = np.isfinite(value) & (null < ALL_ON_TARGET) & sums.differ
    value = np.where(defined, value, np.nan)
    low, high, p = (np.full(value.shape, np.nan) for _ in range(3))
    if defined.any():
        above, room = (a - c)[:, defined], (r - c)[:, defined]
        low[defined], high[defined] = bootstrap_interval(above, room, bootstrap=bootstrap)
        rng = np.random.default_rng([bootstrap.seed, 1])  # not the draws of the interval
        p[defined] = random_sign_flips(above, rng=rng, flips=flips)
    found = (raw, null, value, low, high, p, rows.sum(0), (rows > 0).sum(0).astype(float))
    return Scores(*(x.reshape(shape[1:]) for x in found))


def class_scores(sums: ClassSums, *, bootstrap: Bootstrap, flips: int, min_rows: int) -> Scores:
    """Scores by class of the query token, each against the larger of its nulls.

    A class with fewer than `min_rows` rows, or a null without rows, has no score.
    """
    found = [score(s, bootstrap=bootstrap, flips=flips) for s in sums.nulls]
    strict = found[0]
    for other in found[1:]:
        # Undefined under one null is undefined: nothing of that class stands in another sequence.
        larger = ~(other.null < strict.null)
        strict = Scores(
            strict.raw,
            np.where(larger, other.null, strict.null),
            np.where(larger, other.score, strict.score),
            np.minimum(strict.low, other.low),
            np.where(larger, other.high, strict.high),
            np.maximum(strict.p, other.p),
            strict.rows,
            strict.n,
        )
    few = strict.rows < min_rows
    cut = {x: np.where(few, np.nan, getattr(strict, x)) for x in ("score", "low", "high", "p")}
    return Scores(strict.raw, strict.null, **cut, rows=strict.rows, n=strict.n)
