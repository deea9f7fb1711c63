"""Measures of subspaces, one at a time and as they are defined: references for the tests."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.attention_kernels import AttentionWeights, Kind, kernel_spectra
from zscope.studies.crosslingual.space.ranks import RANKS, effective_ranks, gaussian_weights
from zscope.studies.crosslingual.space.subspaces import (
    chance_ratio,
    chance_share,
    energy_matched_spaces,
    energy_share,
    energy_spectrum,
)
from zscope.studies.crosslingual.space.updates import pool, positions_used, z_score


class Overlap(NamedTuple):
    """A share of energy inside a space, what chance gives (k/d), and their ratio."""

    share: float
    chance: float
    ratio: float


def projector(V: Float[Tensor, "k d"]) -> Float[Tensor, "d d"]:
    """P = V^T V; for `split` and all else here it is never formed."""
    return V.mT @ V


def split(
    x: Float[Tensor, "*n d"], V: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d"]]:
    """The part of x in the space and the rest, which add up to x."""
    inside = (x @ V.mT) @ V
    return inside, x - inside


def energy_matched_space(
    cov: Float[Tensor, "d d"],
    k: int,
    target_share: float,
    generator: torch.Generator,
    tolerance: float = 1e-4,
) -> Float[Tensor, "k d"]:
    """One of `energy_matched_spaces`.

    cov: second moments of the states, centred or not, as the share was measured.
    """
    spectrum = energy_spectrum(cov)
    return energy_matched_spaces(spectrum, k, target_share, 1, generator, tolerance)[0]


def similarity(V1: Float[Tensor, "k d"], V2: Float[Tensor, "k d"]) -> float:
    """tr(P1 P2) / k, from 0 to 1 (the same space). Raises ValueError if their shapes differ."""
    if V1.shape != V2.shape:
        raise ValueError(f"spaces of other sizes: {tuple(V1.shape)} and {tuple(V2.shape)}")
    return float((V1.double() @ V2.double().mT).square().sum()) / len(V1)


def ffn_overlap(
    W: Float[Tensor, "n d"], V: Float[Tensor, "k d"], rank: int | None = None
) -> Overlap:
    """Share of an FFN's vectors inside the space, against chance k/d.

    W: one vector of the stream a hidden unit: columns of W_down (writes), rows of W_up or W_gate
    times the norm's gain (reads). There are more of them than d and they span all, so their
    energy is what counts; `rank` compares the span of their top right singular vectors instead.
    """
    if rank is not None:
        assert 1 <= rank <= min(W.shape)
        W = torch.linalg.svd(W.double(), full_matrices=False).Vh[:rank]
    share, chance = energy_share(W, V), chance_share(len(V), V.shape[1])
    return Overlap(share, chance, share / chance)


class UpdateRatio(NamedTuple):
    """||P dh|| / ||P_perp dh|| of the mean update of an example, and of every token.

    NaN where a token is left out.
    """

    pooled: Float[Tensor, " batch"]
    tokens: Float[Tensor, "batch seq"]


class AgainstNull(NamedTuple):
    """A mean ratio, its analytic null, their ratio, and z among the given random spaces."""

    ratio: float
    null: float
    over_null: float
    z: float


class DistanceRatio(NamedTuple):
    """Mean distance of translations over that of other problems, in Z and outside it."""

    inside: float
    perp: float


def norm_ratio(x: Float[Tensor, "*n d"], V: Float[Tensor, "k d"]) -> Float[Tensor, "*n"]:
    """||P x|| / ||P_perp x||; inf inside the space, NaN for 0."""
    inside, perp = split(x.double(), V.double())
    return torch.linalg.vector_norm(inside, dim=-1) / torch.linalg.vector_norm(perp, dim=-1)


def update_ratio(
    dh: Float[Tensor, "batch seq d"],
    mask: Int[Tensor, "batch seq"],
    V: Float[Tensor, "k d"],
    skip_first: bool = False,
) -> UpdateRatio:
    """R(l) of dh = h(l+1) - h(l), the states before and after layer l (neither after a norm)."""
    used = positions_used(mask, skip_first)
    tokens = norm_ratio(dh, V).masked_fill(~used, torch.nan)
    return UpdateRatio(norm_ratio(pool(dh, used), V), tokens)


def update_against_null(
    dh: Float[Tensor, "batch seq d"],
    mask: Int[Tensor, "batch seq"],
    V: Float[Tensor, "k d"],
    spaces: Sequence[Float[Tensor, "k d"]],
    skip_first: bool = False,
) -> AgainstNull:
    """Mean over examples of the pooled R(l), against sqrt(k/(d-k)) and against `spaces`.

    R = 1 is not the null: in a random space of k of d dimensions R is about sqrt(k/(d-k)). z is in
    standard deviations of the same mean in the given spaces. Raises DataError with fewer than 2.
    """
    mean = pool(dh, positions_used(mask, skip_first))
    ratio = float(norm_ratio(mean, V).mean())
    null = chance_ratio(*V.shape)
    others = torch.stack([norm_ratio(mean, other).mean() for other in spaces]) if spaces else None
    return AgainstNull(ratio, null, ratio / null, z_score(ratio, others))


def distance_ratio(
    zh: Float[Tensor, "n d"], en: Float[Tensor, "n d"], V: Float[Tensor, "k d"]
) -> DistanceRatio:
    """Mean ||zh_i - en_i|| over mean ||zh_i - en_j||, i != j, in Z and outside it.

    Row i of both is the same problem. Below 1, translations lie closer than other problems. Raises
    DataError with fewer than 2 problems.
    """
    _check_pairs(zh, en)
    if len(zh) < 2:
        raise DataError("distances to other problems need 2 or more problems")
    parts = zip(split(zh.double(), V.double()), split(en.double(), V.double()), strict=True)
    inside, perp = (_same_over_other(a, b) for a, b in parts)
    return DistanceRatio(inside, perp)


def language_energy(
    zh: Float[Tensor, "n_zh d"], en: Float[Tensor, "n_en d"], V: Float[Tensor, "k d"]
) -> float:
    """Share of the difference of the languages' means that lies in the space; chance is k/d."""
    return energy_share(zh.double().mean(0) - en.double().mean(0), V)


def _same_over_other(zh: Float[Tensor, "n d"], en: Float[Tensor, "n d"]) -> float:
    # Differences rather than products: far from the origin the products cancel.
    distances = torch.cdist(zh, en, compute_mode="donot_use_mm_for_euclid_dist")
    n, same = len(zh), distances.diagonal().sum()
    return float((same / n) / ((distances.sum() - same) / (n * (n - 1))))


def _check_pairs(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"paired states of other shapes: {tuple(a.shape)} and {tuple(b.shape)}")


def rank_null(
    weights: AttentionWeights, n_draws: int, generator: torch.Generator, kind: Kind = "qk"
) -> dict[str, Float[Tensor, "draws heads"]]:
    """Effective ranks of the heads of `n_draws` layers of Gaussian weights, by name."""
    drawn = [
        effective_ranks(kernel_spectra(gaussian_weights(weights, generator), kind).heads)
        for _ in range(n_draws)
    ]
    return {name: torch.stack([ranks[name] for ranks in drawn]) for name in RANKS}
