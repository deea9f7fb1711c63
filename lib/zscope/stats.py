"""Intervals, tests and onset times. numpy arrays in, numpy arrays or floats out; no torch.

Which interval for what: Wilson for rates (a bootstrap of 0/20 is [0, 0]), the bootstrap for means
and ratios of means, order statistics for the median of a few numbers, Kaplan-Meier for the times of
transitions that some runs never make. The level, and the number and seed of the resamples, come
from the config's one `Bootstrap`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from zscope.config.base import Bootstrap

FLIPS_AT_ONCE = 2_000
SIGNS_OF_A_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * 2.0 - 1
SETTLED = 50
"""Random sign flips stop where so many have reached the observed sum: p is then known to a
seventh."""

# scipy.stats takes half a second to import, so the functions that need it import it themselves.


def bootstrap_weights(
    n: int, n_resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "resamples n"]:
    """Share of each of `n` examples in each bootstrap resample of size n (rows sum to 1).

    `weights @ values` is then the mean of every resample at once. Raises ValueError if n or
    n_resamples is below 1.
    """
    if n < 1 or n_resamples < 1:
        raise ValueError(f"need n >= 1 and n_resamples >= 1, got {n} and {n_resamples}")
    return rng.multinomial(n, np.full(n, 1 / n), size=n_resamples) / n


@lru_cache(maxsize=4)  # of hundreds of intervals over the same examples, most of the time
def _weights_of_seed(n: int, resamples: int, seed: int) -> Float[np.ndarray, "resamples n"]:
    weights = bootstrap_weights(n, resamples, np.random.default_rng(seed))
    weights.setflags(write=False)
    return weights


def bootstrap_interval(
    values: Float[np.ndarray, n * columns],
    denominator: Float[np.ndarray, n * columns] | None = None,
    *,
    bootstrap: Bootstrap,
    rng: np.random.Generator | None = None,
    weights: Float[np.ndarray, "resamples n"] | None = None,
) -> tuple[Float[np.ndarray, "*columns"], Float[np.ndarray, "*columns"]]:
    """Percentile bootstrap interval of a mean or a ratio of means (Efron and Tibshirani 1993).

    values: [n] or [n, m], one row per example; every column is resampled with the same draws.
    denominator: [n] or [n, m]; if given, the statistic is mean(values) / mean(denominator).
    Resamples in which the mean denominator is 0 leave the ratio undefined and are left out.
    rng: of the draws, by default from the bootstrap's seed; or weights: draws to share between
    calls, from `bootstrap_weights`.

    Returns (low, high), each of shape [] or [m]. NaN where values hold a NaN, and everywhere if n
    is 1 (one example says nothing about spread). Raises ValueError for no examples or shapes that
    do not fit.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (1, 2) or len(values) == 0:
        raise ValueError(f"values must be [n] or [n, m] with n >= 1, got shape {values.shape}")
    tails = bootstrap.tails
    n = len(values)
    if weights is None:
        weights = (
            _weights_of_seed(n, bootstrap.resamples, bootstrap.seed)
            if rng is None
            else bootstrap_weights(n, bootstrap.resamples, rng)
        )
    elif weights.ndim != 2 or weights.shape[1] != n:
        raise ValueError(f"weights of shape {weights.shape} do not fit {n} examples")
    if n == 1:
        unknown = np.full((2, *values.shape[1:]), np.nan)
        return unknown[0], unknown[1]
    statistic = weights @ values
    if denominator is None:
        low, high = np.quantile(statistic, tails, axis=0)
        return low, high
    denominator = np.asarray(denominator, dtype=np.float64)
    if denominator.shape not in (values.shape, (n,)):
        raise ValueError(f"denominator {denominator.shape} does not fit values {values.shape}")
    below = (weights @ denominator).reshape(len(weights), *[-1] * (values.ndim - 1))
    undefined = below == 0
    statistic = statistic / np.where(undefined, np.nan, below)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # NaN is the documented result
        quantile = np.nanquantile if undefined.any() else np.quantile
        low, high = quantile(statistic, tails, axis=0)
    return low, high


def wilson_interval(
    successes: ArrayLike, n: ArrayLike, level: float
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Wilson score interval of a rate, (low, high) of the inputs' shape; NaN where n is 0.

    successes: need not be whole (a sum of shares). Raises ValueError unless 0 <= successes <= n.
    """
    from scipy.special import ndtri

    hits, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    if np.any((hits < 0) | (hits > trials)):
        raise ValueError("successes must lie between 0 and n")
    z2 = ndtri((1 + level) / 2) ** 2
    trials = np.where(trials > 0, trials, np.nan)
    middle = hits + z2 / 2
    reach = np.sqrt(z2 * (hits * (1 - hits / trials) + z2 / 4))
    low, high = ((middle + side * reach) / (trials + z2) for side in (-1, 1))
    # Exact at the ends, where rounding leaves some 1e-17.
    return np.where(hits == 0, trials * 0, low), np.where(hits == trials, trials / trials, high)


def median_interval(
    values: Float[np.ndarray, " n"], level: float
) -> tuple[float, float, float, float]:
    """Median, its distribution-free interval, and the interval's coverage; NaN counts as infinite.

    The interval runs from the r-th smallest to the r-th largest value, with the largest r for which
    the binomial coverage 1 - 2 P(Bin(n, 1/2) < r) is at least `level`; with too few values for that
    it is the range (r = 1), whose coverage is then below the level (David and Nagaraja 2003, sec.
    7.1). Raises ValueError without values.
    """
    from scipy.stats import binom

    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    n = len(ordered)
    if n == 0:
        raise ValueError("the median of no values")
    coverage = 1 - 2 * binom.cdf(np.arange(n // 2 + 1), n, 0.5)  # of r = 1, 2, ...
    r = max(1, int(np.sum(coverage >= level)))
    middle = ordered[[(n - 1) // 2, n // 2]]
    median = middle[0] if np.isinf(middle[1]) else middle.mean()
    return float(median), float(ordered[r - 1]), float(ordered[n - r]), float(coverage[r - 1])


def finite(value: float | None) -> float | None:
    """The value, or None if it is undefined (0/0) or infinite."""
    return float(value) if value is not None and np.isfinite(value) else None


def sign_flip_test(
    differences: Float[np.ndarray, " n"],
    *,
    steps: int,
    clusters: Sequence[str] | None = None,
) -> float:
    """Two-sided p value of the mean when the sign of each paired difference is exchangeable.

    steps: the differences are whole multiples of 1/steps, as those of rates over so many draws are.
    p is exact: the distribution of the sum over all sign patterns, by the product of its
    characteristic functions. With steps 1 this is the exact McNemar test. p is never 0.
    clusters: the name of each difference's unit; those of one unit are flipped together.

    Raises ValueError for no differences, a NaN, or differences that are no multiples of 1/steps.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or d.size == 0:
        raise ValueError(f"need a vector of differences, got shape {d.shape}")
    if np.isnan(d).any():
        raise ValueError("NaN among the paired differences")
    if clusters is not None:
        _, unit = np.unique(np.asarray(clusters), return_inverse=True)
        d = np.bincount(unit, weights=d).astype(np.float64)
    whole = np.rint(d * steps)
    if np.abs(d * steps - whole).max() > 1e-6:
        raise ValueError(f"differences that are no multiples of 1/{steps}")
    sizes, counts = np.unique(np.abs(whole[whole != 0]), return_counts=True)
    observed = abs(int(whole.sum()))
    if observed == 0:
        return 1.0
    largest = int(sizes @ counts)
    length = 2 * largest + 1
    angles = 2 * np.pi * np.arange(largest + 1) / length
    characteristic = np.prod(np.cos(np.outer(sizes, angles)) ** counts[:, None], axis=0)
    # Of the sum modulo `length`; it is symmetric, so the upper tail is half of both.
    probability = np.fft.irfft(characteristic, length)
    tail = 2 * float(probability[observed : largest + 1].sum())
    return min(1.0, max(tail, 2.0 ** (1 - int(counts.sum()))))


def random_sign_flips(
    differences: Float[np.ndarray, "n m"], *, rng: np.random.Generator, flips: int
) -> Float[np.ndarray, " m"]:
    """The same test of real numbers, for each column, by random flips that all columns share.

    p is (1 + hits) / (1 + flips), with the observed signs counted in (Phipson and Smyth 2010).
    Columns that many flips reach are settled early (sequential Monte Carlo, Besag and Clifford
    1991). Raises ValueError for a NaN.
    """
    d = np.asarray(differences, dtype=np.float64)
    if np.isnan(d).any():
        raise ValueError("NaN among the paired differences")
    n, m = d.shape
    observed = np.abs(d.sum(0)) - 1e-12 * np.abs(d).sum(0)  # equal sums must count as ties
    hits, drawn = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=np.int64)
    # A byte draws the signs of eight differences: what they add up to is looked up.
    eights = np.pad(d, ((0, -n % 8), (0, 0))).reshape(-1, 8, m)
    tables = np.ascontiguousarray((SIGNS_OF_A_BYTE @ eights).transpose(2, 0, 1))  # [m, n/8, 256]
    open_ = np.arange(m)
    size = FLIPS_AT_ONCE
    while open_.size and drawn[open_[0]] < flips:
        size = min(size, flips - int(drawn[open_[0]]))
        eight_signs = rng.integers(256, size=(len(eights), size), dtype=np.uint8)
        for i in open_:
            sums = np.zeros(size)
            for of_byte, byte in zip(tables[i], eight_signs, strict=True):
                sums += of_byte.take(byte)
            hits[i] += np.count_nonzero(np.abs(sums, out=sums) >= observed[i])
        drawn[open_] += size
        open_ = open_[hits[open_] < SETTLED]
        size = 5 * FLIPS_AT_ONCE  # most are settled by the first
    return (1 + hits) / (1 + drawn)


def holm(p_values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Holm-adjusted p values (family-wise error) over all entries; NaN stays and does not count.

    Raises ValueError for p values outside [0, 1].
    """
    adjusted = np.array(p_values, dtype=np.float64)
    known = ~np.isnan(adjusted)
    if np.any((adjusted[known] < 0) | (adjusted[known] > 1)):
        raise ValueError("p values must lie in [0, 1]")
    p = adjusted[known]
    order = np.argsort(p)
    p[order] = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted[known] = np.minimum(p, 1)
    return adjusted


def mcnemar_exact(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """Two-sided exact McNemar p value of paired outcomes; 1 without discordant pairs."""
    from scipy.stats import binomtest

    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"outcomes are not paired: shapes {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(~a & b))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def onset(
    steps: Int[np.ndarray, " evaluations"] | Sequence[int],
    values: Float[np.ndarray, " evaluations"] | Sequence[float],
    threshold: float,
    direction: Literal["above", "below"] = "above",
    consecutive: int = 2,
) -> int | None:
    """First step of `consecutive` evaluations in a row strictly past the threshold; None if never.

    A NaN is not past any threshold, so it breaks a streak. Raises ValueError unless steps increase
    strictly, there is one value per step, consecutive >= 1 and the direction is known.
    """
    step, value = np.asarray(steps), np.asarray(values, dtype=np.float64)
    if step.shape != value.shape or step.ndim != 1:
        raise ValueError(f"need one value per step, got shapes {step.shape} and {value.shape}")
    if np.any(np.diff(step) <= 0):
        raise ValueError("steps must increase strictly")
    if direction not in ("above", "below") or consecutive < 1:
        raise ValueError(f"bad direction {direction!r} or consecutive {consecutive}")
    past = value > threshold if direction == "above" else value < threshold
    if len(past) < consecutive:
        return None
    streak = np.lib.stride_tricks.sliding_window_view(past, consecutive).all(axis=1)
    return int(step[np.argmax(streak)]) if streak.any() else None


class MedianTime(NamedTuple):
    """Kaplan-Meier median of onset times, in the unit of the times; inf = beyond the last one."""

    median: float
    ci_low: float
    ci_high: float
    n: int
    n_censored: int


def median_time(
    times: Float[np.ndarray, " runs"],
    observed: Bool[np.ndarray, " runs"],
    *,
    bootstrap: Bootstrap,
    rng: np.random.Generator | None = None,
) -> MedianTime:
    """Kaplan-Meier median of right-censored times, with a bootstrap interval over runs.

    times: time of the onset where observed, else the last time at which the run was seen without it
    (finite). The median is the first time at which at most half of the runs survive, inf{t: S(t) <=
    1/2} (Klein and Moeschberger 2003, sec. 4.5); inf if S stays above. The interval resamples
    (time, observed) pairs (Efron 1981) and takes order statistics, so inf is a legal end; its ends
    are NaN for one run. Raises ValueError for no runs, shapes that differ or times that are not
    finite.
    """
    times, observed = np.asarray(times, dtype=np.float64), np.asarray(observed, dtype=bool)
    if times.shape != observed.shape or times.ndim != 1 or times.size == 0:
        raise ValueError(f"need paired vectors, got shapes {times.shape} and {observed.shape}")
    if not np.isfinite(times).all():
        raise ValueError("times must be finite: a run without onset has its last time, censored")
    tails = bootstrap.tails
    n = times.size
    median = _kaplan_meier_median(times, observed, np.ones((1, n)))[0]
    low = high = np.nan
    if n > 1:
        # Whole counts: sums of k/n would make S miss 1/2 by a rounding error more often.
        rng = rng or np.random.default_rng(bootstrap.seed)
        counts = np.rint(bootstrap_weights(n, bootstrap.resamples, rng) * n)
        medians = _kaplan_meier_median(times, observed, counts)
        low = np.quantile(medians, tails[0], method="lower")
        high = np.quantile(medians, tails[1], method="higher")
    return MedianTime(float(median), float(low), float(high), n, int(np.sum(~observed)))


def _kaplan_meier_median(
    times: Float[np.ndarray, " runs"],
    observed: Bool[np.ndarray, " runs"],
    counts: Float[np.ndarray, "resamples runs"],
) -> Float[np.ndarray, " resamples"]:
    """Median of each resample, in which run i occurs counts[:, i] times."""
    events = np.unique(times[observed])
    if events.size == 0:
        return np.full(len(counts), np.inf)
    at_risk = counts @ (times[:, None] >= events)
    happened = counts @ ((times[:, None] == events) & observed[:, None])
    # Nobody at risk means nobody left to have the event: the factor is 1.
    survival = np.cumprod(1 - happened / np.maximum(at_risk, 1), axis=1)
    half = survival <= 0.5 + 1e-12
    return np.where(half.any(axis=1), events[np.argmax(half, axis=1)], np.inf)
