"""Experiment C on the states of one layer: every fit, judged, as rows of the ARD tables.

Metrics of `crosslingual_ard`. Of the original objective:

    value, mmd              at the end, summed over the problems of the fit
    value_at_infinity       of the empty Z: exactly 0
    value_held_out,         the same lengthscales on the other problems, summed
    mmd_held_out
    drift                   fall of the value over the last tenth of the steps
    plateau_step            where the stop rule would have stopped; null: nowhere
    n_below_median          |Z| of the protocol, half of all by construction
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

Of both, and of equal (uniform) and shuffled (random) weights, on held-out problems:
retrieval_{category,all}_{zh_en,en_zh}, the accuracy among candidates of the category, or all.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_interval, bootstrap_weights
from zscope.studies.crosslingual.ard.evaluation import (
    Split,
    index_overlap,
    principal_axes,
    rank_correlation,
    retrieve,
    same_category,
    survivors,
    weight_overlap,
    z_axes,
)
from zscope.studies.crosslingual.ard.kernel import Clouds, all_pairs_mmd, make_pairs, paired_mmd
from zscope.studies.crosslingual.ard.objectives import (
    EVERY,
    LOSSES,
    fit_contrast,
    fit_original,
    language_mean_gap,
    mmd_slope,
    original_value,
    svd_init,
    uniform_precision,
)
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.space.subspaces import (
    chance_share,
    energy_matched_spaces,
    energy_share,
    energy_spectrum,
    random_space,
)

Row = dict[str, Any]
Basis = Literal["coordinates", "pca", "z"]
PERMUTATIONS = 5  # of the fitted weights, behind the objective "random"
SHUFFLES = 100  # of the weights, behind the null of an overlap
RESAMPLES = 1000


@dataclass(frozen=True)
class ArdSettings:
    """Sizes and rates of the fits; see the section `ard` of the configuration."""

    lambdas: Sequence[float]
    lr: float
    steps: int
    contrast_lr: float
    contrast_steps: int
    tau: float
    bases: Sequence[Basis]
    draws: int

    @classmethod
    def of(cls, ard: ArdConfig, draws: int) -> ArdSettings:
        """From the section `ard`, and the number of spaces behind every null (`z.draws`)."""
        return cls(
            lambdas=ard.lambdas,
            lr=ard.lr,
            steps=ard.steps,
            contrast_lr=ard.contrast_lr,
            contrast_steps=ard.contrast_steps,
            tau=ard.tau,
            bases=ard.bases,
            draws=draws,
        )


@dataclass
class ArdRows:
    """Rows of the three tables, without the columns of model and layer."""

    measurements: list[Row] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)
    lengthscales: list[Row] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Data:
    """What the fits of a layer share: centred clouds in float32, and the spaces and their nulls."""

    train: Clouds
    test: Clouds
    train_categories: np.ndarray
    test_categories: np.ndarray
    spaces: Mapping[int, Tensor]
    nulls: Mapping[int, Mapping[str, Sequence[Tensor]]]
    resamples: np.ndarray
    seed: int


def study_layer(
    clouds: Clouds,
    categories: Shaped[np.ndarray, " n"],
    split: Split,
    spaces: Mapping[int, Float[Tensor, "k d"]],
    settings: ArdSettings,
    seed: int,
) -> ArdRows:
    """Fit both objectives on the problems of `split.train` and judge them on `split.test`.

    spaces: V_Z by k; the largest is what the protocol's fits start from and what basis "z" is. Without
    one (there is no attention after the last layer) what needs it is left out.
    """
    rows = ArdRows()
    data = _prepare(clouds, categories, split, spaces, settings.draws, seed)
    _study_original(data, settings, rows)
    for basis in settings.bases:
        axes = _axes(data, basis)
        if axes is not None:
            _study_contrast(data, settings, basis, axes, rows)
    return rows


def _prepare(
    clouds: Clouds,
    categories: np.ndarray,
    split: Split,
    spaces: Mapping[int, Tensor],
    draws: int,
    seed: int,
) -> _Data:
    train, test = (clouds.select(torch.from_numpy(rows)) for rows in split)
    mean = train.tokens().double().mean(0)
    train, test = (part.centred(mean).to(torch.float32) for part in (train, test))
    tokens = train.tokens().double()
    spectrum = energy_spectrum(tokens.mT @ tokens)
    nulls: dict[int, dict[str, list[Tensor]]] = {}
    for k, V in spaces.items():
        generator = torch.Generator().manual_seed(derive_seed(seed, f"null spaces {k}"))
        share = energy_share(tokens, V)
        nulls[k] = {
            "random": [random_space(clouds.d, k, generator) for _ in range(draws)],
            "energy": [
                energy_matched_spaces(spectrum, k, share, 1, generator)[0] for _ in range(draws)
            ],
        }
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    resamples = bootstrap_weights(len(test), RESAMPLES, rng)
    by_part = (categories[split.train], categories[split.test])
    return _Data(train, test, *by_part, spaces, nulls, resamples, seed)


def _axes(data: _Data, basis: Basis) -> Float[Tensor, "r d"] | None:
    """Rows of the basis, in float32; None if it needs a Z and there is none."""
    if basis == "coordinates":
        return torch.eye(data.train.d)
    tokens = data.train.tokens()
    if basis == "pca":
        return principal_axes(tokens).float()
    return z_axes(tokens, data.spaces[max(data.spaces)]).float() if data.spaces else None


# --- the original objective ---------------------------------------------------------------------


def _study_original(data: _Data, settings: ArdSettings, rows: ArdRows) -> None:
    d, train, test = data.train.d, data.train, data.test
    generator = torch.Generator().manual_seed(derive_seed(data.seed, "random init"))
    starts: dict[str, tuple[Tensor, Tensor | None]] = {"zeros": (torch.zeros(d), None)}
    if data.spaces:
        V = data.spaces[max(data.spaces)]
        starts["svd_z"] = (svd_init(V), V)
        V = random_space(d, len(V), generator)
        starts["svd_random"] = (svd_init(V), V)
    gap = language_mean_gap(train)
    typical = train.tokens().square().sum(1).mean()
    # Far longer than any distance, so that the kernel is flat and the first order is all.
    flat = rank_correlation(mmd_slope(train, torch.full((d,), 1e-6) / typical), gap)
    nowhere = torch.full((d,), torch.inf)
    coordinates = torch.eye(d)
    middle = sorted(settings.lambdas)[len(settings.lambdas) // 2]
    for init, (start, V_init) in starts.items():
        # The protocol's protocol is the whole grid from its own init; the others show what it decides.
        protocol = init == ("svd_z" if data.spaces else "zeros")
        for penalty in settings.lambdas if protocol else [middle]:
            fit = fit_original(train, start, penalty, steps=settings.steps, lr=settings.lr)
            what = {"objective": "original", "basis": "coordinates", "init": init, "penalty": penalty}
            last, chosen = fit.records[-1], survivors(fit.log_l)
            before = [r for r in fit.records if r.step <= 0.9 * settings.steps][-1]
            precision = (-2 * fit.log_l.double()).exp()
            plain = {
                "value": float(original_value(train, fit.log_l, penalty)),
                "mmd": float(original_value(train, fit.log_l, 0)),
                "value_at_infinity": float(original_value(train, nowhere, penalty)),
                "drift": before.value - last.value,
                "plateau_step": fit.plateau_step,
                "n_below_median": last.n_below_median,
                "n_below_3sd": last.n_below_threshold,
                "slope_correlation_flat": flat,
                "slope_correlation_end": rank_correlation(mmd_slope(train, precision), gap),
            }
            for metric, value in plain.items():
                n = d if metric.startswith(("n_", "slope")) else len(train)
                rows.measurements.append(_row(what, metric, value, n=n))
            rows.measurements += _held_out_rows(data, what, fit.log_l, penalty)
            if V_init is not None:
                rows.measurements += _overlap_rows(
                    data, what, "overlap_init", chosen, coordinates, {len(V_init): V_init}
                )
            rows.measurements += _overlap_rows(
                data, what, "overlap", chosen, coordinates, data.spaces
            )
            for k, V in data.spaces.items():
                value, chance = index_overlap(chosen, V), chance_share(k, d)
                rows.measurements.append(
                    _row(what, "index_overlap", value, k=k, null=("chance", chance), n=d)
                )
            rows.measurements += _retrieval_rows(data, what, test, [precision])
            rows.history += [
                {**what, "step": r.step, "metric": metric, "value": float(value)}
                for r in fit.records
                for metric, value in r._asdict().items()
                if metric != "step"
            ]
            rows.lengthscales += _lengthscale_rows(what, fit.log_l)


# --- the contrast -----------------------------------------------------------------------------


def _study_contrast(
    data: _Data, settings: ArdSettings, basis: Basis, axes: Float[Tensor, "r d"], rows: ArdRows
) -> None:
    origin = torch.zeros(data.train.d)
    train, test = (part.project(axes, origin) for part in (data.train, data.test))

    def about(objective: str) -> Row:
        return {"objective": objective, "basis": basis, "init": None, "penalty": None}

    uniform = uniform_precision(train)
    rows.measurements += _retrieval_rows(data, about("uniform"), test, [uniform])
    for loss in LOSSES:
        fit = fit_contrast(
            train,
            data.train_categories,
            loss=loss,
            steps=settings.contrast_steps,
            lr=settings.contrast_lr,
            tau=settings.tau,
        )
        what, w = about(loss), fit.weights.double()
        directions = float(torch.special.entr(w).sum().exp())
        rows.measurements += [
            _row(what, "loss", fit.losses[-1], n=len(train)),
            _row(what, "effective_directions", directions, n=len(w)),
            *_overlap_rows(data, what, "overlap", fit.weights, axes, data.spaces),
            *_retrieval_rows(data, what, test, [fit.precision]),
        ]
        rows.history += [
            {**what, "step": step, "metric": "loss", "value": fit.losses[step]}
            for step in range(0, len(fit.losses), EVERY)
        ]
        rows.lengthscales += _lengthscale_rows(what, -fit.precision.log() / 2)
        if loss == "gap":
            generator = torch.Generator().manual_seed(derive_seed(data.seed, f"random {basis}"))
            orders = [torch.randperm(len(w), generator=generator) for _ in range(PERMUTATIONS)]
            shuffled = [uniform * fit.weights[order] * len(w) for order in orders]
            rows.measurements += _retrieval_rows(data, about("random"), test, shuffled)


# --- rows -------------------------------------------------------------------------------------


def _row(
    what: Row,
    metric: str,
    value: float | None,
    *,
    k: int | None = None,
    interval: tuple[float | None, float | None] = (None, None),
    null: tuple[str | None, float | None] = (None, None),
    band: tuple[float | None, float | None] = (None, None),
    n: int,
) -> Row:
    value = None if value is None or np.isnan(value) else float(value)
    return {
        **what,
        "k": k,
        "metric": metric,
        "value": value,
        "ci_low": interval[0],
        "ci_high": interval[1],
        "null_mean": null[1],
        "null_low": band[0],
        "null_high": band[1],
        "null": null[0],
        "n": n,
    }


def _overlap_rows(
    data: _Data,
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
    generator = torch.Generator().manual_seed(derive_seed(data.seed, f"shuffled {metric} {what}"))
    orders = torch.stack([torch.randperm(len(axes), generator=generator) for _ in range(SHUFFLES)])
    shuffled = weights.double()[orders]
    for k, V in spaces.items():
        value = weight_overlap(weights, axes, V)
        chance = ("chance", chance_share(k, data.train.d))
        yield _row(what, metric, value, k=k, null=chance, n=len(axes))
        nulls = {"shuffled": [weight_overlap(w, axes, V) for w in shuffled]}
        if what["basis"] != "z":
            for name, drawn in data.nulls[k].items():
                nulls[name] = [weight_overlap(weights, axes, other) for other in drawn]
        for name, null in nulls.items():
            band = (float(np.quantile(null, 0.025)), float(np.quantile(null, 0.975)))
            mean = (name, float(np.mean(null)))
            yield _row(what, metric, value, k=k, null=mean, band=band, n=len(axes))


def _held_out_rows(
    data: _Data, what: Row, log_l: Float[Tensor, " d"], penalty: float
) -> Iterator[Row]:
    """The original objective on the held-out problems, with intervals over them."""
    pairs, log_l = make_pairs(data.test.to(torch.float64)), log_l.double()
    mmd = paired_mmd(pairs, (-2 * log_l).exp()).numpy()
    low, high = (len(mmd) * float(x) for x in bootstrap_interval(mmd, weights=data.resamples))
    for metric, added in (
        ("mmd_held_out", 0.0),
        ("value_held_out", penalty * float((-log_l).exp().sum())),
    ):
        interval = (low + added, high + added)
        yield _row(what, metric, float(mmd.sum()) + added, interval=interval, n=len(mmd))


def _retrieval_rows(
    data: _Data, what: Row, test: Clouds, precisions: Sequence[Float[Tensor, " r"]]
) -> Iterator[Row]:
    """Held-out accuracy, the mean over `precisions` taken problem by problem."""
    test = test.to(torch.float64)
    every = [all_pairs_mmd(test, p.double()) for p in precisions]
    same = same_category(data.test_categories)
    candidates = {"category": same, "all": torch.ones_like(same)}
    for scope, mask in candidates.items():
        found = [retrieve(M, mask) for M in every]
        chance = ("chance", float(found[0].chance.mean()))
        pick: dict[str, Callable[[Any], np.ndarray]] = {
            "zh_en": lambda r: r.zh_en,
            "en_zh": lambda r: r.en_zh,
        }
        for direction, side in pick.items():
            hits = np.mean([side(r) for r in found], axis=0)
            low, high = bootstrap_interval(hits, weights=data.resamples)
            interval = (float(low), float(high))
            name = f"retrieval_{scope}_{direction}"
            yield _row(what, name, float(hits.mean()), interval=interval, null=chance, n=len(hits))


def _lengthscale_rows(what: Row, log_l: Float[Tensor, " r"]) -> list[Row]:
    log10 = (log_l.double() / np.log(10)).tolist()
    return [{**what, "dimension": j, "log10_lengthscale": value} for j, value in enumerate(log10)]
