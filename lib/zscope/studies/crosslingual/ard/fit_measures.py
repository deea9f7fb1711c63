"""Scores of the fits of one layer: rows of `crosslingual_ard`, from the tables of fits.

Of the original objective:

    value, mmd              at the end, summed over the problems of the fit
    value_at_infinity       of the empty Z: exactly 0
    value_held_out,         the same lengthscales on the other problems, summed
    mmd_held_out
    drift                   fall of the value over the last tenth of the steps
    plateau_step            where the stop rule would have stopped; null: nowhere
    n_below_median          the protocol's |Z|, half of all by construction
    n_below_3sd             dimensions with l below 3 of their standard deviations
    slope_correlation_flat  Spearman of the slopes dMMD^2/dp and the squared difference of the
    slope_correlation_end   languages' means, at long equal lengthscales and at the fitted ones
    overlap_init            energy of the surviving dimensions in the space that the fit began from
    overlap                 energy of the surviving dimensions in Z
    index_overlap           share of them among the k dimensions with most of Z's energy (C.7)

Of the contrast (gap, info_nce):

    loss                    at the end, on the problems of the fit
    effective_directions    exp of the entropy of the weights
    overlap                 energy of the directions in Z, by weight

A fit of which nothing survives is a result: its overlaps are null.

Of both, and of equal (uniform) and shuffled (random) weights, on held-out problems:
retrieval_{category,all}_{zh_en,en_zh}, the accuracy among candidates of the category, or all.
Shuffled weights (random) are the mean over as many shuffles as a null has draws.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.figures.frames import select
from zscope.stats import finite
from zscope.studies.crosslingual.ard.evaluation import (
    compared,
    index_overlap,
    rank_correlation,
    retrieve,
    same_category,
    survivors,
    weight_overlap,
)
from zscope.studies.crosslingual.ard.kernel import Clouds, all_pairs_mmd, make_pairs, paired_mmd
from zscope.studies.crosslingual.ard.layer_data import LayerData
from zscope.studies.crosslingual.ard.layer_fits import about
from zscope.studies.crosslingual.ard.objectives import (
    language_mean_gap,
    mmd_slope,
    original_value,
    plateau,
    uniform_precision,
)
from zscope.studies.crosslingual.measures.intervals import (
    NO_INTERVAL,
    NO_NULL,
    Resamples,
    chance_null,
    null_band,
)
from zscope.studies.crosslingual.space.subspaces import (
    chance_share,
    energy_matched_spaces,
    energy_share,
    energy_spectrum_of,
    random_space,
)
from zscope.studies.crosslingual.tables import FIT_KEY
from zscope.tables.schema import Row

MATCHED_ON = {"energy": "centred tokens of the fitted problems"}
SHUFFLES = 100  # of the weights, behind the null of an overlap


@dataclass(frozen=True)
class Judge:
    """The data that the fits of a layer are judged on.

    draws: random and energy-matched spaces behind every null. resamples: of the held-out problems.
    """

    data: LayerData
    draws: int
    resamples: Resamples

    @cached_property
    def nulls(self) -> dict[int, dict[str, Float[Tensor, "draws k d"]]]:
        """Random and energy-matched spaces, by k and name: the latter on MATCHED_ON's states."""
        tokens = self.data.train.tokens().double()
        spectrum = energy_spectrum_of(tokens)
        found: dict[int, dict[str, Tensor]] = {}
        for k, V in self.data.spaces.items():
            generator = self.data.generator(f"null spaces {k}")
            share, d = energy_share(tokens, V), V.shape[1]
            found[k] = {
                "random": torch.stack([random_space(d, k, generator) for _ in range(self.draws)]),
                "energy": energy_matched_spaces(spectrum, k, share, self.draws, generator),
            }
        return found


def measure_layer(judge: Judge, lengthscales: pd.DataFrame, history: pd.DataFrame) -> Iterator[Row]:
    """Rows without the model and the layer. lengthscales, history: the layer's rows."""
    started: set[str] = set()
    for fit in lengthscales[list(FIT_KEY)].drop_duplicates().to_dict("records"):
        what = {str(name): None if pd.isna(value) else value for name, value in fit.items()}
        rows, steps = select(lengthscales, **what), select(history, **what)
        log_l = torch.from_numpy(rows["log10_lengthscale"].to_numpy(np.float64) * np.log(10))
        if what["objective"] == "original":
            yield from _original_rows(judge, what, log_l.float(), steps)
            continue
        first = str(what["basis"]) not in started
        started.add(str(what["basis"]))
        yield from _contrast_rows(judge, what, log_l, steps, first=first)


def _original_rows(
    judge: Judge, what: Row, log_l: Float[Tensor, " d"], history: pd.DataFrame
) -> Iterator[Row]:
    data, train, penalty = judge.data, judge.data.train, what["penalty"]
    d = train.d
    by_metric = {m: rows.set_index("step")["value"] for m, rows in history.groupby("metric")}
    falling, gap = by_metric["value"], language_mean_gap(train)
    before = falling[falling.index <= 0.9 * falling.index[-1]]
    precision, chosen = (-2 * log_l.double()).exp(), survivors(log_l)
    # Far longer than any distance, so that the kernel is flat and the first order is all.
    flat = torch.full((d,), 1e-6) / train.tokens().square().sum(1).mean()
    plain = {
        "value": float(original_value(train, log_l, penalty)),
        "mmd": float(original_value(train, log_l, 0)),
        "value_at_infinity": float(original_value(train, torch.full((d,), torch.inf), penalty)),
        "drift": before.iloc[-1] - falling.iloc[-1],
        "plateau_step": plateau(dict(zip(falling.index, falling, strict=True))),
        "n_below_median": by_metric["n_below_median"].iloc[-1],
        "n_below_3sd": by_metric["n_below_threshold"].iloc[-1],
        "slope_correlation_flat": rank_correlation(mmd_slope(train, flat), gap),
        "slope_correlation_end": rank_correlation(mmd_slope(train, precision), gap),
    }
    for metric, value in plain.items():
        n = d if metric.startswith(("n_", "slope")) else len(train)
        yield _row(what, metric, value, n)
    yield from _held_out_rows(judge, what, log_l, penalty)
    coordinates = torch.eye(d)
    V_init = data.starts[what["init"]]
    if V_init is not None:
        begun = {len(V_init): V_init}
        yield from _overlap_rows(judge, what, "overlap_init", chosen, coordinates, begun)
    yield from _overlap_rows(judge, what, "overlap", chosen, coordinates, data.spaces)
    for k, V in data.spaces.items():
        value, chance = index_overlap(chosen, V), chance_null(chance_share(k, d))
        yield _row(what, "index_overlap", value, d) | {"k": k} | chance
    yield from _retrieval_rows(judge, what, data.test, [precision])


def _contrast_rows(
    judge: Judge, what: Row, log_l: Float[Tensor, " r"], history: pd.DataFrame, *, first: bool
) -> Iterator[Row]:
    """first: of the fits in this basis, with which the equal weights are judged."""
    basis, objective = what["basis"], what["objective"]
    data = judge.data
    axes = data.axes(basis)
    assert axes is not None, "a fit in basis z has a Z"
    train, test = (part.project(axes, torch.zeros(part.d)) for part in data.parts)
    uniform = uniform_precision(train)
    if first:
        yield from _retrieval_rows(judge, about("uniform", basis), test, [uniform])
    precision = (-2 * log_l).exp().float()
    weights = precision / (uniform * train.d)
    directions = float(torch.special.entr(weights.double()).sum().exp())
    yield _row(what, "loss", history["value"].iloc[-1], len(train))
    yield _row(what, "effective_directions", directions, len(weights))
    yield from _overlap_rows(judge, what, "overlap", weights, axes, data.spaces)
    yield from _retrieval_rows(judge, what, test, [precision])
    if objective == "gap":
        generator, n = data.generator(f"random {basis}"), len(weights)
        orders = [torch.randperm(n, generator=generator) for _ in range(judge.draws)]
        shuffled = [uniform * weights[order] * n for order in orders]
        yield from _retrieval_rows(judge, about("random", basis), test, shuffled)


def _overlap_rows(
    judge: Judge,
    what: Row,
    metric: str,
    weights: Tensor,
    axes: Float[Tensor, "r d"],
    spaces: Mapping[int, Tensor],
) -> Iterator[Row]:
    """Energy of weighted directions in each space, against k/d, other spaces and shuffled weights.

    Shuffled weights are the null that holds in every basis. Random spaces cut across the axes of
    basis "z" where Z itself does not, so that their band is too narrow there: it has none.
    """
    n, generator = len(axes), judge.data.generator(f"shuffled {metric} {what}")
    orders = torch.stack([torch.randperm(n, generator=generator) for _ in range(SHUFFLES)])
    shuffled = weights.double()[orders]
    for k, V in spaces.items():
        row = _row(what, metric, weight_overlap(weights, axes, V), n) | {"k": k}
        yield row | chance_null(chance_share(k, V.shape[1]))
        if row["value"] is None:
            continue  # nothing survived, and nothing has no null
        yield row | _band("shuffled", [weight_overlap(w, axes, V) for w in shuffled], judge)
        for name, drawn in judge.nulls[k].items() if what["basis"] != "z" else ():
            yield row | _band(name, [weight_overlap(weights, axes, x) for x in drawn], judge)


def _band(name: str, values: Sequence[float], judge: Judge) -> Row:
    return null_band(name, values, judge.resamples.bootstrap, matched_on=MATCHED_ON.get(name))


def _held_out_rows(
    judge: Judge, what: Row, log_l: Float[Tensor, " d"], penalty: float
) -> Iterator[Row]:
    """The original objective on the held-out problems, with intervals over them."""
    pairs, log_l = make_pairs(judge.data.test.to(torch.float64)), log_l.double()
    mmd = paired_mmd(pairs, (-2 * log_l).exp()).numpy()
    n, interval = len(mmd), judge.resamples.of_mean(mmd)
    for metric, added in (
        ("mmd_held_out", 0.0),
        ("value_held_out", penalty * float((-log_l).exp().sum())),
    ):
        ends = {end: None if x is None else n * x + added for end, x in interval.items()}
        yield _row(what, metric, float(mmd.sum()) + added, n) | ends


def _retrieval_rows(
    judge: Judge, what: Row, test: Clouds, precisions: Sequence[Float[Tensor, " r"]]
) -> Iterator[Row]:
    """Held-out accuracy, the mean over `precisions` taken problem by problem.

    Among its category only problems count that have others of it to be mistaken for.
    """
    test = test.to(torch.float64)
    every = [all_pairs_mmd(test, p.double()) for p in precisions]
    same = same_category(judge.data.categories[judge.data.split.test])
    for scope, mask in (("category", same), ("all", torch.ones_like(same))):
        counted = compared(mask)
        if not counted.any():
            continue
        found = [retrieve(M, mask) for M in every]
        chance = chance_null(float(found[0].chance[counted].mean()))
        resamples = replace(judge.resamples, n=int(counted.sum()))
        for direction in ("zh_en", "en_zh"):
            hits = np.mean([getattr(r, direction)[counted] for r in found], axis=0)
            row = _row(what, f"retrieval_{scope}_{direction}", float(hits.mean()), len(hits))
            yield row | resamples.of_mean(hits) | chance


def _row(what: Row, metric: str, value: float | None, n: int) -> Row:
    row = {**what, "k": None, "metric": metric, "value": finite(value), "n": n}
    return row | NO_INTERVAL | NO_NULL
