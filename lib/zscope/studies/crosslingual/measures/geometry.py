"""Phase 2 of the protocol: where translations and languages lie, inside Z and outside it.

Rows of crosslingual_geometry. Metrics, each against every null of the same k:

    ratio_z           mean distance of translations over that of different problems, inside the
    ratio_z_perp      space, and outside it; below 1: translations lie closer
    ratio_difference  the first minus the second
    language_energy   share of the difference of the languages' means that lies in the space;
                      against k/d too (null: chance)

Energy-matched spaces hold Z's share of what is measured: the pooled vectors of both languages, not
centred, with or without the first token. Intervals resample problems, both languages of one
together; a problem drawn twice does not count as a pair of different problems. Layer l means its
input. The state after the last layer is measured in the last layer's Z, because no attention reads
it.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.stats import finite
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.measures.intervals import Resamples, chance_null, null_band
from zscope.studies.crosslingual.measures.nulls import (
    POOLED,
    POOLINGS,
    EnergyNull,
    pooled,
    pooled_languages,
    present,
    token_choices,
)
from zscope.studies.crosslingual.measures.space_file import SpaceFile, key
from zscope.studies.crosslingual.sizes import Sizes
from zscope.studies.crosslingual.space.activations import Layer
from zscope.studies.crosslingual.space.subspaces import chance_share
from zscope.tables.schema import Row


def layer_rows(
    states: Layer,
    layer: int,
    spaces: SpaceFile,
    random: Mapping[int, Float[Tensor, "draws k d"]],
    resamples: Resamples,
) -> Iterator[Row]:
    """Every row of one layer, without the model. random: uniform spaces by k.

    Z of the main kind, from all heads and from each alone; at the layers of Z all kinds.
    """
    sizes, z, seed = spaces.sizes, spaces.z, resamples.bootstrap.seed
    owner = min(layer, sizes.n_layers - 1)
    for position_0, alike in token_choices(states).items():
        for pooling in POOLINGS:
            vectors = pooled_languages(states, pooling, position_0)
            name = f"geometry/L{layer}/{pooling}/{position_0}"
            energy = EnergyNull(vectors, z.draws, derive_seed(seed, name))
            pairs = make_pairs(*(pooled(states[x], pooling, position_0) for x in ("zh", "en")))
            for k, kind, head in _spaces_at(layer, z, sizes):
                if not spaces.has(owner, k, kind, head):
                    continue
                V = spaces.load(owner, k, kind, head)
                matched = energy.spaces(V, key(owner, k, kind, head))
                nulls = present({"random": random[k], "energy": matched})
                about = {"layer": layer, "k": k, "kind": kind, "head": head}
                about |= {"pooling": pooling}
                for row in geometry_rows(pairs, V, nulls, resamples, {"energy": POOLED[pooling]}):
                    for same in alike:
                        yield {**about, "position_0": same, **row}


def _spaces_at(layer: int, z: ZConfig, sizes: Sizes) -> Iterator[tuple[int, str, int | None]]:
    """k, kind and head of the spaces that a layer is measured in."""
    for k in sizes.ks:
        for kind in dict.fromkeys(z.kinds if layer in sizes.layers else [z.kind]):
            for head in (None, *range(sizes.n_heads)):
                yield k, kind, head


class Pairs(NamedTuple):
    """Pooled states of the same n problems, centred together, and their squared distances."""

    zh: Float[Tensor, "n d"]
    en: Float[Tensor, "n d"]
    squared: Float[Tensor, "n n"]


def make_pairs(zh: Float[Tensor, "n d"], en: Float[Tensor, "n d"]) -> Pairs:
    """Row i of both is one problem. Raises DataError with fewer than 2 problems."""
    if zh.shape != en.shape:
        raise ValueError(f"paired states of other shapes: {tuple(zh.shape)} and {tuple(en.shape)}")
    if len(zh) < 2:
        raise DataError("distances to other problems need 2 or more problems")
    zh, en = zh.double(), en.double()
    mean = (zh.mean(0) + en.mean(0)) / 2
    zh, en = zh - mean, en - mean
    return Pairs(zh, en, _squared_distances(zh, en))


def distances(
    pairs: Pairs, spaces: Float[Tensor, "m k d"]
) -> tuple[Float[Tensor, "m n n"], Float[Tensor, "m n n"]]:
    """||zh_i - en_j|| inside each space, and outside it (what is left of the whole)."""
    m, k, _ = spaces.shape
    rows = spaces.flatten(0, 1).mT
    zh, en = ((x @ rows).unflatten(1, (m, k)).transpose(0, 1) for x in (pairs.zh, pairs.en))
    inside = _squared_distances(zh, en)
    return inside.sqrt(), (pairs.squared - inside).clamp(min=0).sqrt()


def separation(D: Float[Tensor, "*m n n"]) -> Float[Tensor, "*m"]:
    """Mean of the diagonal over the mean of the rest; NaN if all is 0."""
    n, same = D.shape[-1], D.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (same / n) / ((D.sum((-2, -1)) - same) / (n * (n - 1)))


def resampled_separation(
    D: Float[Tensor, "n n"], weights: Float[np.ndarray, "resamples n"]
) -> Float[np.ndarray, " resamples"]:
    """`separation` in resamples of the problems; NaN for a resample of one problem alone."""
    own = D.diagonal().numpy()
    others = D.numpy() - np.diag(own)
    share = 1 - np.square(weights).sum(1)  # of the pairs, those of two different problems
    # A resample of one problem leaves a rounding error of 1 - 1.
    share = np.where(share > 1e-12, share, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (weights @ own) / (((weights @ others) * weights).sum(1) / share)


def energy_in(
    difference: Float[Tensor, "*n d"], spaces: Float[Tensor, "*m k d"]
) -> Float[Tensor, "*out"]:
    """Share of each difference in each space; NaN for 0."""
    inside = (difference @ spaces.mT).square().sum(-1)
    return inside / difference.square().sum(-1)


def geometry_rows(
    pairs: Pairs,
    V: Float[Tensor, "k d"],
    nulls: Mapping[str, Float[Tensor, "draws k d"]],
    resamples: Resamples,
    matched_on: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Rows without the columns that name V and the states.

    nulls: random spaces to compare V with, by name. matched_on: by null, the states whose energy
    it holds as V does, in words.
    """
    held = matched_on or {}
    n, (k, d) = len(pairs.zh), V.shape
    inside, perp = (D[0] for D in distances(pairs, V.unsqueeze(0)))
    drawn = [resampled_separation(D, resamples.weights) for D in (inside, perp)]
    difference = pairs.zh - pairs.en
    moved = torch.from_numpy(resamples.weights) @ difference
    values = {
        "ratio_z": float(separation(inside)),
        "ratio_z_perp": float(separation(perp)),
        "ratio_difference": float(separation(inside) - separation(perp)),
        "language_energy": float(energy_in(difference.mean(0), V)),
    }
    intervals = {
        "ratio_z": resamples.interval(drawn[0]),
        "ratio_z_perp": resamples.interval(drawn[1]),
        "ratio_difference": resamples.interval(drawn[0] - drawn[1]),
        "language_energy": resamples.interval(energy_in(moved, V).numpy()),
    }
    bands = {
        name: _null_values(pairs, difference.mean(0), spaces) for name, spaces in nulls.items()
    }
    for metric, value in values.items():
        columns: list[Row] = [
            null_band(name, drawn_values[metric], resamples.bootstrap, matched_on=held.get(name))
            for name, drawn_values in bands.items()
        ]
        if metric == "language_energy":
            columns.append(chance_null(chance_share(k, d)))
        for null in columns:
            yield {"metric": metric, "value": finite(value), **intervals[metric], **null, "n": n}


def _null_values(
    pairs: Pairs, mean_difference: Float[Tensor, " d"], spaces: Float[Tensor, "draws k d"]
) -> dict[str, Float[Tensor, " draws"]]:
    inside, perp = (separation(D) for D in distances(pairs, spaces))
    return {
        "ratio_z": inside,
        "ratio_z_perp": perp,
        "ratio_difference": inside - perp,
        "language_energy": energy_in(mean_difference, spaces),
    }


def _squared_distances(
    zh: Float[Tensor, "*m n d"], en: Float[Tensor, "*m n d"]
) -> Float[Tensor, "*m n n"]:
    # Differences rather than products: translations may lie far closer than the states are long.
    return torch.cdist(zh, en, compute_mode="donot_use_mm_for_euclid_dist").square()
