"""Experiment D: how well a linear map carries one language's Z to the other's.

Rows of crosslingual_bridge, one set per layer, k, pooling and direction ("en->zh" predicts Chinese
from English, as the protocol does). Scores are those of space.linear_map:

    protocol_r2         in sample, without an intercept: the protocol's R2
    ols_r2              in sample, with one; with n <= k + 1 pairs it is 1 on noise too
    loo_r2              each pair predicted from the others
    ridge_loo_r2        the same with a ridge, its penalty chosen inside the fold
    procrustes_r2       of a scaled rotation, in sample
    procrustes_scale    its scale
    orthogonality_error the protocol's ||W'W - I||_F / k, which is 1/sqrt(k) for W = 0
    singular_value      of the protocol's W, by component

Space "z" carries the null of shuffled pairings within categories (permutation) and a p value.
Spaces "random" and "energy" hold the mean over draws, their interval being that of the draws;
"energy" has Z's share of the pooled vectors that are mapped, of both languages.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.stats import finite
from zscope.studies.crosslingual.config import BridgeConfig
from zscope.studies.crosslingual.measures.intervals import (
    NO_INTERVAL,
    NO_NULL,
    band,
    null_band,
)
from zscope.studies.crosslingual.measures.nulls import (
    POOLED,
    EnergyNull,
    pooled,
    pooled_languages,
    present,
)
from zscope.studies.crosslingual.measures.space_file import SpaceFile, key
from zscope.studies.crosslingual.problems.parallel import Language
from zscope.studies.crosslingual.space.activations import Layer
from zscope.studies.crosslingual.space.linear_map import Bridge, bridge, permutation_null
from zscope.tables.schema import Row
from zscope.verdicts import draw_test

SCORES = (
    "protocol_r2",
    "ols_r2",
    "loo_r2",
    "ridge_loo_r2",
    "procrustes_r2",
    "procrustes_scale",
    "orthogonality_error",
)

DIRECTIONS: tuple[tuple[Language, Language], ...] = (("en", "zh"), ("zh", "en"))


def layer_rows(
    states: Layer,
    layer: int,
    spaces: SpaceFile,
    random: Mapping[int, Float[Tensor, "draws k d"]],
    categories: Shaped[np.ndarray, " n"],
    config: BridgeConfig,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    """Every row of one layer, in Z of the main kind, without the model. random: uniform, by k.

    categories: of the problems in the order of the states.
    """
    z, kind, seed = spaces.z, spaces.z.kind, bootstrap.seed
    energies = {
        pooling: EnergyNull(
            pooled_languages(states, pooling, z.position_0),
            z.draws,
            derive_seed(seed, f"bridge/L{layer}/{pooling}"),
        )
        for pooling in dict.fromkeys(config.poolings)
    }
    for k in spaces.sizes.ks:
        if not spaces.has(layer, k, kind):
            continue
        V = spaces.load(layer, k, kind)
        for pooling, energy in energies.items():
            matched = energy.spaces(V, key(layer, k, kind))
            others = present({"random": random[k], "energy": matched})
            for source, target in DIRECTIONS:
                about = {"layer": layer, "k": k, "kind": kind, "pooling": pooling}
                direction = f"{source}->{target}"
                name = f"permutation/L{layer}/k{k}/{pooling}/{direction}"
                for row in bridge_rows(
                    pooled(states[source], pooling, z.position_0),
                    pooled(states[target], pooling, z.position_0),
                    V,
                    others,
                    categories,
                    config.permutations,
                    torch.Generator().manual_seed(derive_seed(seed, name)),
                    bootstrap,
                    {"energy": POOLED[pooling]},
                ):
                    yield {**about, "direction": direction, **row}


def bridge_rows(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n d"],
    V: Float[Tensor, "k d"],
    others: Mapping[str, Float[Tensor, "draws k d"]],
    categories: Shaped[np.ndarray, " n"],
    permutations: int,
    generator: torch.Generator,
    bootstrap: Bootstrap,
    matched_on: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Rows of the map from x to y, without the columns that name them.

    others: random spaces to compare Z with, by name; matched_on: the states whose energy they hold
    as Z does, in words. Raises DataError as `bridge`.
    """
    held = matched_on or {}
    n = len(x)
    found = bridge(x @ V.mT, y @ V.mT)
    null = permutation_null(x @ V.mT, y @ V.mT, categories, permutations, generator)._asdict()
    for metric in SCORES:
        value = float(getattr(found, metric))
        columns: Row = {**NO_NULL, "p": None}
        if metric in null:
            columns = null_band("permutation", null[metric], bootstrap)
            # An undefined score has no place among the draws.
            known = finite(value) is not None
            columns["p"] = draw_test(value, null[metric].numpy()).p if known else None
        yield _row("z", metric, value, n) | columns
    for i, value in enumerate(found.singular_values.tolist()):
        yield _row("z", "singular_value", value, n) | {"component": i}
    for name, spaces in others.items():
        drawn = [bridge(x @ W.mT, y @ W.mT) for W in spaces]
        about: Row = {"draws": len(drawn), "matched_on": held.get(name)}
        for row in _drawn_rows(name, drawn, n, bootstrap):
            yield row | about


def _drawn_rows(name: str, drawn: list[Bridge], n: int, bootstrap: Bootstrap) -> Iterator[Row]:
    for metric in SCORES:
        values = np.array([getattr(b, metric) for b in drawn])
        yield _row(name, metric, float(values.mean()), n) | _between(values, bootstrap)
    spectra = torch.stack([b.singular_values for b in drawn]).numpy()
    for i, values in enumerate(spectra.T):
        row = _row(name, "singular_value", float(values.mean()), n)
        yield row | {"component": i} | _between(values, bootstrap)


def _between(values: Float[np.ndarray, " draws"], bootstrap: Bootstrap) -> Row:
    low, high = band(values, len(values), bootstrap)
    return {"ci_low": low, "ci_high": high}


def _row(space: str, metric: str, value: float, n: int) -> Row:
    return {
        "space": space,
        "metric": metric,
        "component": None,
        "value": finite(value),
        **NO_INTERVAL,
        **NO_NULL,
        "p": None,
        "n": n,
    }
