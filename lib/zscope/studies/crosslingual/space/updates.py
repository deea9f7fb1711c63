"""Where layers write and how the languages differ, inside Z and outside it.

Positions: attention masks are [batch, seq] with 1 for a real token, padded on the left; the first
real token (position 0) collects attention and massive activations, and can be left out.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.studies.crosslingual.space.subspaces import chance_ratio, energy_share, split


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


def positions_used(
    mask: Int[Tensor, "batch seq"], skip_first: bool = False
) -> Bool[Tensor, "batch seq"]:
    """Real tokens, without the first real one if asked. Raises DataError if a row has none left."""
    used = mask.bool()
    if skip_first:
        used = used & (used.cumsum(1) > 1)
    if not bool(used.any(1).all()):
        raise DataError("an example has no tokens left to measure")
    return used


def pool(
    x: Float[Tensor, "batch seq d"], used: Bool[Tensor, "batch seq"]
) -> Float[Tensor, "batch d"]:
    """Mean over the used positions, in float64; what is elsewhere, NaN included, does not count."""
    x = x.double().masked_fill(~used.unsqueeze(-1), 0)
    return x.sum(1) / used.sum(1, keepdim=True)


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


def z_score(value: float, null: Float[Tensor, " draws"] | None) -> float:
    """(value - mean) / standard deviation of draws of the null. DataError with fewer than 2."""
    if null is None or len(null) < 2:
        raise DataError("a z score needs 2 or more draws of the null")
    return (value - float(null.mean())) / float(null.std())


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
