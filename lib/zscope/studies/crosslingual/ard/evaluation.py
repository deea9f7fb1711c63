"""Scores of fitted lengthscales: held-out retrieval of translations, and overlap with Z.

Lengthscales are fitted on some problems and judged on others. In retrieval the translation of a
problem is looked for among candidates by smallest MMD^2. A fit lives in a basis (rows orthonormal),
Z is a rotated subspace, so the two are compared by energy, sum_j w_j ||P_Z b_j||^2, whose value for
a random space is k/d, and not by which indices they name.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from zscope.core.errors import DataError

SIDE = 3  # problems of a category on either side of the split
TOKENS_A_DIRECTION = 4  # fewer, and the variance along a principal axis is not known


class Split(NamedTuple):
    """Rows of the problems that lengthscales are fitted on, and of those they are judged on."""

    train: Int[np.ndarray, " n_train"]
    test: Int[np.ndarray, " n_test"]


class Retrieval(NamedTuple):
    """Whether each problem's translation is nearest (ties share the hit), and 1 / candidates."""

    zh_en: Float[np.ndarray, " n"]
    en_zh: Float[np.ndarray, " n"]
    chance: Float[np.ndarray, " n"]


def split_problems(
    categories: Shaped[np.ndarray, " n"],
    train_share: float,
    rng: np.random.Generator,
    most: int | None = None,
) -> Split:
    """Split every category in about the same proportion; use `most` problems at most.

    Both sides get SIDE problems or more of every category, 2 where it has too few, since a problem
    is compared with others of its category; one of 3 problems or fewer goes to one side whole. If
    `most` is too small for twice SIDE of each, the smallest categories are left out. Problems are
    taken in turn from all categories, in random order within each. Raises DataError if either side
    would have fewer than 2 problems.
    """
    order = _taken(categories, rng.permutation(len(categories)), most)
    names = categories[order]
    train: list[int] = []
    owed = 0.0
    for name in np.unique(names):
        rows = order[names == name]
        # What rounding one category loses the next ones get back.
        owed += train_share * len(rows)
        n = _to_fit(len(rows), owed)
        owed -= n
        train += rows[:n].tolist()
    test = np.setdiff1d(order, train)
    if min(len(train), len(test)) < 2:
        raise DataError(
            f"{len(order)} problems split into {len(train)} to fit on and {len(test)} to judge: "
            "either needs 2 or more; give more problems or another crosslingual.ard.train_share"
        )
    return Split(np.sort(np.asarray(train)), test)


def _taken(
    categories: Shaped[np.ndarray, " n"], order: Int[np.ndarray, " n"], most: int | None
) -> Int[np.ndarray, " m"]:
    """The first `most` of `order`, in turn from as many categories as there is room for."""
    found, sizes = np.unique(categories, return_counts=True)
    if most is not None and most < len(order):
        by_size = np.argsort(-sizes, kind="stable")
        room = np.cumsum(np.minimum(sizes[by_size], 2 * SIDE)) <= most
        found = found[by_size[: max(1, int(room.sum()))]]
    order = order[np.isin(categories[order], found)]
    _, labels = np.unique(categories[order], return_inverse=True)
    turn = np.zeros(len(order), int)
    for label in range(len(found)):
        turn[labels == label] = np.arange(np.sum(labels == label))
    return order[np.lexsort((labels, turn))][:most]


def _to_fit(size: int, owed: float) -> int:
    """How many problems of a category are fitted to, of about `owed`."""
    if size < 4:
        return size if owed >= size / 2 else 0
    least = min(SIDE, size // 2)
    return min(max(round(owed), least), size - least)


def principal_axes(tokens: Float[Tensor, "n d"]) -> Float[Tensor, "r d"]:
    """Principal axes of centred tokens, by falling variance, in float64.

    Only the leading n/4 of them (at most d), without those of no variance: along others the
    variance, which weights are relative to, is not known.
    """
    tokens = tokens.double()
    values, vectors = torch.linalg.eigh(tokens.mT @ tokens)
    values, vectors = values.flip(0), vectors.flip(1)
    rank = int((values > values[0] * 1e-12).sum())
    return vectors[:, : min(rank, len(tokens) // TOKENS_A_DIRECTION)].mT.contiguous()


def z_axes(tokens: Float[Tensor, "n d"], V: Float[Tensor, "k d"]) -> Float[Tensor, "r d"]:
    """[V_Z; V_perp]: principal axes of the tokens inside the space, then of the rest."""
    tokens, V = tokens.double(), V.double()
    coordinates = tokens @ V.mT
    inside = principal_axes(coordinates) @ V
    perp = principal_axes(tokens - coordinates @ V)
    # Rounding leaves the rest a variance of about 1e-32 inside.
    return torch.cat([inside, perp[: V.shape[1] - len(V)]])


def retrieve(M: Float[Tensor, "n n"], candidates: Bool[Tensor, "n n"]) -> Retrieval:
    """Retrieval by smallest M (row zh_i, column en_j) among the candidates, in both directions.

    candidates: symmetric, true on the diagonal. A tie of t, the right one among them, is 1/t.
    """
    M = M.double().masked_fill(~candidates, torch.inf)

    def hits(M: Tensor) -> np.ndarray:
        best = M.amin(1, keepdim=True)
        nearest = best == M
        return (nearest.diagonal() / nearest.sum(1)).numpy()

    return Retrieval(hits(M), hits(M.mT), (1 / candidates.sum(1)).numpy())


def same_category(categories: Shaped[np.ndarray, " n"]) -> Bool[Tensor, "n n"]:
    """Which problems share a category: the hard candidates."""
    return torch.from_numpy(categories[:, None] == categories[None, :])


def compared(candidates: Bool[Tensor, "n n"]) -> Bool[np.ndarray, " n"]:
    """Which problems have another candidate: the others are found whatever the states hold."""
    return (candidates.sum(1) > 1).numpy()


def weight_overlap(
    weights: Float[Tensor, " r"], basis: Float[Tensor, "r d"], V: Float[Tensor, "k d"]
) -> float:
    """Weighted mean over the basis of the share of its directions inside the space.

    The mean over random spaces is k/d. NaN if no weight is above 0: nothing survived the fit.
    """
    weights = weights.double()
    shares = (basis.double() @ V.double().mT).square().sum(1)
    return float(weights @ shares / weights.sum())


def index_overlap(chosen: Bool[Tensor, " d"], V: Float[Tensor, "k d"]) -> float:
    """The protocol's C.7: share of the chosen dimensions among the k that hold most of Z's energy.

    NaN if nothing is chosen. Chance is k/d. Z is rotated, so this says less than `weight_overlap`.
    """
    top = torch.zeros_like(chosen)
    top[V.square().sum(0).topk(len(V)).indices] = True
    return float(top[chosen].double().mean())


def survivors(log_l: Float[Tensor, " d"]) -> Bool[Tensor, " d"]:
    """The protocol's Z: dimensions whose lengthscale is below the median."""
    return log_l < log_l.quantile(0.5)


def rank_correlation(a: Float[Tensor, " d"], b: Float[Tensor, " d"]) -> float:
    """Spearman's; NaN if either is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(x.double().numpy()) for x in (a, b)]
    if any(np.ptp(r) == 0 for r in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
