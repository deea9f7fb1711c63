"""How well estimates find what exhaustive patching finds, with intervals and nulls. No torch.

A cell is the live nodes of one kind and layer, or of all, of one primitive's pairs or of all. Its
scores:

    pearson          correlation of estimate and effect
    spearman         the same of their ranks, where |effect| > SMALLEST: ties of zeros say nothing
    false_negatives  share of the nodes with |effect| > `large` whose |estimate| is below `missed`

Estimates without a sign are compared with |effect|. Correlations have a bootstrap interval over
pairs, for nodes of a pair are not independent (of ranks: those of the whole cell); the share of
false negatives has a Wilson interval over nodes. The null permutes the estimates of the cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_interval, bootstrap_weights, finite, wilson_interval
from zscope.studies.components.attribution.methods import METHODS, UNSIGNED
from zscope.tables.schema import Row
from zscope.verdicts import draw_test

ALL = "all"
"""The primitive, or kind, of a row that is over all of them."""
PEARSON, SPEARMAN, MISSED = METRICS = ("pearson", "spearman", "false_negatives")
SMALLEST = 1e-3  # nats


@dataclass(frozen=True)
class ScoreRule:
    """large, missed: in nats, as above. draws: permutations of the null."""

    large: float
    missed: float
    draws: int
    bootstrap: Bootstrap
    seed: int


@dataclass(frozen=True, eq=False)
class Cell:
    """Estimates and effects of nodes, and the pair of each (from 0, every number used)."""

    estimate: Float[np.ndarray, " n"]
    effect: Float[np.ndarray, " n"]
    pair: Int[np.ndarray, " n"]

    @property
    def pairs(self) -> int:
        return int(self.pair.max(initial=-1)) + 1

    def kept(self, which: np.ndarray) -> Cell:
        _, pair = np.unique(self.pair[which], return_inverse=True)
        return Cell(self.estimate[which], self.effect[which], pair)


def score_rows(nodes: pd.DataFrame, rule: ScoreRule) -> Iterator[Row]:
    """Rows of the table of scores, of the nodes of one model. Layer is null over all kinds.

    nodes: columns pair, primitive, kind, layer, exact, and those of the methods.
    """
    methods = [m for m in METHODS if m in nodes and nodes[m].notna().all()]
    cells: list[tuple[str, int | None, pd.DataFrame]] = [
        (str(some["kind"].iloc[0]), int(some["layer"].iloc[0]), some)
        for _, some in nodes.groupby(["kind", "layer"], sort=False)
    ]
    for kind, layer, of_cell in [*cells, (ALL, None, nodes)]:
        for primitive, rows in _by_primitive(of_cell):
            for method in methods:
                cell = cell_of(rows, method)
                cell_name = f"{method} {kind} {layer} {primitive}"
                rng = np.random.default_rng(derive_seed(rule.seed, f"null {cell_name}"))
                for metric in METRICS:
                    yield {
                        "method": method,
                        "kind": kind,
                        "layer": layer,
                        "primitive": primitive,
                        "metric": metric,
                        **score(cell, metric, rule, rng),
                    }


def _by_primitive(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield ALL, rows
    for primitive, some in rows.groupby("primitive", sort=False):
        yield str(primitive), some


def cell_of(rows: pd.DataFrame, method: str) -> Cell:
    _, pair = np.unique(rows["pair"], return_inverse=True)
    effect = rows["exact"].to_numpy(float)
    return Cell(
        rows[method].to_numpy(float), np.abs(effect) if method in UNSIGNED else effect, pair
    )


def score(cell: Cell, metric: str, rule: ScoreRule, rng: np.random.Generator) -> Row:
    """A score of a cell with its interval, and the same of permuted estimates."""
    if metric == MISSED:
        return _missed(cell, rule, rng)
    if metric == SPEARMAN:
        cell = ranked(cell.kept(np.abs(cell.effect) > SMALLEST))
    value = correlation(cell.estimate[None], cell.effect)[0]
    low, high = correlation_interval(cell, rule.bootstrap)
    shuffled = permuted(cell.estimate, rule.draws, rng)
    null = correlation(shuffled, cell.effect)
    return _row(value, low, high, null, rule, len(cell.effect), cell.pairs, "above")


def _missed(cell: Cell, rule: ScoreRule, rng: np.random.Generator) -> Row:
    large = np.abs(cell.effect) > rule.large
    n = int(large.sum())
    shuffled = permuted(cell.estimate, rule.draws, rng)[:, large]
    hits = int((np.abs(cell.estimate[large]) < rule.missed).sum())
    low, high = wilson_interval(hits, n, rule.bootstrap.level)
    null = (np.abs(shuffled) < rule.missed).sum(1) / n if n else np.full(rule.draws, np.nan)
    value = hits / n if n else np.nan
    return _row(value, float(low), float(high), null, rule, n, cell.kept(large).pairs, "below")


def _row(
    value: float,
    low: float,
    high: float,
    null: Float[np.ndarray, " draws"],
    rule: ScoreRule,
    n: int,
    pairs: int,
    side: str,
) -> Row:
    known = bool(np.isfinite(value) and np.isfinite(null).all() and len(null))
    tails = np.quantile(null, rule.bootstrap.tails) if known else (np.nan, np.nan)
    test = draw_test(value, null, side) if known else None  # type: ignore[arg-type]
    return {
        "value": finite(value),
        "ci_low": finite(low),
        "ci_high": finite(high),
        "null": finite(null.mean()) if known else None,
        "null_low": finite(tails[0]),
        "null_high": finite(tails[1]),
        "p": test.p if test else None,
        "draws": len(null),
        "n": n,
        "pairs": pairs,
    }


def permuted(
    values: Float[np.ndarray, " n"], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draws n"]:
    return rng.permuted(np.broadcast_to(values, (draws, len(values))), axis=1)


def ranked(cell: Cell) -> Cell:
    """The cell with mean ranks instead of values."""
    from scipy.stats import rankdata

    return Cell(rankdata(cell.estimate), rankdata(cell.effect), cell.pair)


def correlation(
    estimates: Float[np.ndarray, "draws n"], effect: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " draws"]:
    """Pearson's; NaN below 3 values, or if one side is constant."""
    if len(effect) < 3:
        return np.full(len(estimates), np.nan)
    a = estimates - estimates.mean(1, keepdims=True)
    b = effect - effect.mean()
    return _over_roots(a @ b, (a * a).sum(1), float(b @ b))


def correlation_interval(cell: Cell, bootstrap: Bootstrap) -> tuple[float, float]:
    """Percentile bootstrap over pairs; NaN for one pair."""
    if cell.pairs < 2:
        return np.nan, np.nan
    # Centred first, or the sums of squares would lose their digits.
    a, b = (x - x.mean() for x in (cell.estimate, cell.effect))
    terms = [np.ones_like(a), a, b, a * a, b * b, a * b]
    sums = np.stack([np.bincount(cell.pair, t, cell.pairs) for t in terms], 1)
    rng = np.random.default_rng(bootstrap.seed)
    of = bootstrap_weights(cell.pairs, bootstrap.resamples, rng) @ sums
    mean_a, mean_b, aa, bb, ab = (of[:, 1:] / of[:, :1]).T
    found = _over_roots(ab - mean_a * mean_b, aa - mean_a**2, bb - mean_b**2)
    found = found[np.isfinite(found)]
    if not len(found):
        return np.nan, np.nan
    low, high = np.quantile(found, bootstrap.tails)
    return float(low), float(high)


def _over_roots(
    ab: Float[np.ndarray, " n"], aa: Float[np.ndarray, " n"], bb: float | Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    product = np.maximum(aa, 0) * np.maximum(bb, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(product > 0, np.clip(ab / np.sqrt(product), -1, 1), np.nan)


# --- the work of verifying --------------------------------------------------------------------


def work_rows(nodes: pd.DataFrame, top: int, bootstrap: Bootstrap) -> Iterator[Row]:
    """Rows of the table of work, of the nodes of one model: by method and primitive."""
    methods = [m for m in METHODS if m in nodes and nodes[m].notna().all()]
    for primitive, rows in _by_primitive(nodes):
        of_pairs = [some for _, some in rows.groupby("pair") if len(some) > top]
        if not of_pairs:
            continue
        random = float(np.mean([(len(some) + 1) / (top + 1) for some in of_pairs]))
        for method in methods:
            work = np.array(
                [
                    work_to_verify(some[method].to_numpy(float), some["exact"].to_numpy(float), top)
                    for some in of_pairs
                ]
            )
            low, high = _mean_interval(work, bootstrap)
            yield {
                "method": method,
                "primitive": primitive,
                "value": float(work.mean()),
                "ci_low": low,
                "ci_high": high,
                "worst": float(work.max()),
                "random": random,
                "n": len(work),
            }


def work_to_verify(
    estimate: Float[np.ndarray, " n"], effect: Float[np.ndarray, " n"], top: int
) -> float:
    """Nodes patched exactly in order of |estimate| until the `top` largest |effects| are found,
    over `top`: 1 is perfect. Nodes in random order need (n + 1) / (top + 1) on average."""
    largest = np.argsort(-np.abs(effect), kind="stable")[:top]
    order = np.argsort(-np.abs(estimate), kind="stable")
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(1, len(order) + 1)
    return float(place[largest].max() / top)


def _mean_interval(
    values: Float[np.ndarray, " n"], bootstrap: Bootstrap
) -> tuple[float | None, float | None]:
    low, high = bootstrap_interval(values, bootstrap=bootstrap)
    return finite(float(low)), finite(float(high))
