"""The bridge of the protocol's experiment D: is one language's Z a linear map of the other's?

x [n, k] are the paired coordinates in Z of one language (English), y [n, k] of the other. Every
score is R2 = 1 - ||y - prediction||^2 / ||y - mean(y)||^2 over all n rows and k columns, as the
protocol defines it; leave-one-out scores put predictions from the other n - 1 rows in its place,
centred in each fold. With n <= k + 1 the fit on all rows is perfect on noise: only left-out rows
say anything.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from zscope.core.errors import DataError


class Bridge(NamedTuple):
    """Scores of one pairing (`Null`: of shuffled ones), and of the protocol's map W.

    protocol_r2 has no intercept, as in the protocol; the others have one. orthogonality_error is
    its ||W^T W - I|| / k, which is small for W = 0 too: read the Procrustes score instead.
    singular_values: of W (falling).
    """

    protocol_r2: float
    ols_r2: float
    loo_r2: float
    ridge_loo_r2: float
    procrustes_r2: float
    procrustes_scale: float
    orthogonality_error: float
    singular_values: Float[Tensor, " k"]


class Null(NamedTuple):
    """The scores of shuffled pairings."""

    ols_r2: Float[Tensor, " draws"]
    loo_r2: Float[Tensor, " draws"]
    ridge_loo_r2: Float[Tensor, " draws"]
    procrustes_r2: Float[Tensor, " draws"]


def bridge(
    x: Float[Tensor, "n k"], y: Float[Tensor, "n k"], alphas: Sequence[float] | None = None
) -> Bridge:
    """Every score of y as a linear function of x. Raises DataError with fewer than 4 pairs."""
    x, y = _pairs(x, y)
    W = least_squares(x, y)
    procrustes, scale = procrustes_r2(x, y)
    return Bridge(
        protocol_r2=float(r_squared(y, x @ W)),
        ols_r2=float(ols_r2(x, y)),
        loo_r2=float(loo_r2(x, y)),
        ridge_loo_r2=float(ridge_loo_r2(x, y, alphas)),
        procrustes_r2=float(procrustes),
        procrustes_scale=float(scale),
        orthogonality_error=float(torch.linalg.matrix_norm(W.mT @ W - torch.eye(len(W)))) / len(W),
        singular_values=torch.linalg.svdvals(W),
    )


def permutation_null(
    x: Float[Tensor, "n k"],
    y: Float[Tensor, "n k"],
    categories: Shaped[np.ndarray, " n"],
    n_draws: int,
    generator: torch.Generator,
    alphas: Sequence[float] | None = None,
) -> Null:
    """The scores when each y is paired with an x of the same category, drawn at random.

    What is left is what the categories alone explain. All draws share the decompositions of x.
    Raises DataError if no category has two pairs, or n_draws is below 1.
    """
    x, y = _pairs(x, y)
    if n_draws < 1:
        raise DataError("a null needs 1 or more draws")
    orders = [shuffle_within(categories, generator) for _ in range(n_draws)]
    shuffled = torch.stack([y[order] for order in orders])
    return Null(
        ols_r2(x, shuffled),
        loo_r2(x, shuffled),
        ridge_loo_r2(x, shuffled, alphas),
        procrustes_r2(x, shuffled)[0],
    )


def shuffle_within(
    categories: Shaped[np.ndarray, " n"], generator: torch.Generator
) -> Int[Tensor, " n"]:
    """A random order that keeps every category's places. DataError if all have one member."""
    order = torch.arange(len(categories))
    names, sizes = np.unique(categories, return_counts=True)
    if not (sizes > 1).any():
        raise DataError("no category has two pairs: nothing can be shuffled within categories")
    for name in names:
        places = torch.from_numpy(np.flatnonzero(categories == name))
        order[places] = places[torch.randperm(len(places), generator=generator)]
    return order


def r_squared(
    y: Float[Tensor, "*p n k"], prediction: Float[Tensor, "*p n k"]
) -> Float[Tensor, "*p"]:
    """1 - ||y - prediction||^2 / ||y - mean||^2, over rows and columns at once."""
    total = (y - y.mean(-2, keepdim=True)).square().sum((-2, -1))
    return 1 - (y - prediction).square().sum((-2, -1)) / total


def least_squares(x: Float[Tensor, "n k"], y: Float[Tensor, "n m"]) -> Float[Tensor, "k m"]:
    """W of least norm among those that minimise ||y - x W||; no intercept."""
    return torch.linalg.pinv(x) @ y


def ols_r2(x: Float[Tensor, "n k"], y: Float[Tensor, "*p n k"]) -> Float[Tensor, "*p"]:
    """R2 of least squares with an intercept, on the rows it was fitted to."""
    U, _ = _centred_basis(x)
    mean = y.mean(-2, keepdim=True)
    return r_squared(y, mean + U @ (U.mT @ (y - mean)))


def loo_r2(x: Float[Tensor, "n k"], y: Float[Tensor, "*p n k"]) -> Float[Tensor, "*p"]:
    """R2 of least squares (least norm) with an intercept, each row predicted from the others."""
    return r_squared(y, y - loo_residual_map(x) @ y)


def loo_residual_map(x: Float[Tensor, "n k"]) -> Float[Tensor, "n n"]:
    """M with M y = the left-out residuals of least squares (least norm) with an intercept.

    M = (I - H) / (1 - h_i), H the hat matrix of the centred x and the intercept (Allen's PRESS).
    Where the fit is perfect that is 0/0, and its limit as the ridge falls to 0 is G^+ / G^+_ii,
    G the centred Gram matrix. A row of leverage 1 in an imperfect fit is fitted without it.
    """
    n = len(x)
    U, s = _centred_basis(x)
    if U.shape[1] == n - 1:
        inverse = (U / s.square()) @ U.mT
        return inverse / inverse.diagonal().unsqueeze(1)
    residual = torch.eye(n, dtype=x.dtype) - 1 / n - U @ U.mT
    left = residual.diagonal().clone()
    alone = left < 1e-9
    M = residual / torch.where(alone, 1.0, left).unsqueeze(1)
    for i in torch.nonzero(alone).flatten().tolist():
        others = torch.arange(n) != i
        fold = x[others]
        weights = (x[i] - fold.mean(0)) @ torch.linalg.pinv(fold - fold.mean(0))
        # The prediction is mean + weights (y - mean), and the weights' own mean is theirs to lose.
        M[i] = 0
        M[i, others] = -(weights - weights.mean() + 1 / (n - 1))
        M[i, i] = 1
    return M


def default_alphas(x: Float[Tensor, "n k"]) -> Float[Tensor, " alphas"]:
    """13 ridge penalties, 1e-4 to 1e4 times the mean squared singular value of the centred x."""
    centred = x - x.mean(0)
    return centred.square().sum() / min(x.shape) * torch.logspace(-4, 4, 13, dtype=x.dtype)


def ridge_loo_r2(
    x: Float[Tensor, "n k"], y: Float[Tensor, "*p n k"], alphas: Sequence[float] | None = None
) -> Float[Tensor, "*p"]:
    """R2 of `ridge_loo_predictions`."""
    return r_squared(y, ridge_loo_predictions(x, y, alphas))


def ridge_loo_predictions(
    x: Float[Tensor, "n k"], y: Float[Tensor, "*p n k"], alphas: Sequence[float] | None = None
) -> Float[Tensor, "*p n k"]:
    """Each row predicted by the ridge of the others, its penalty chosen by their own LOO error.

    The intercept is not penalised; one penalty serves all columns. alphas: of ||W||^2 in
    ||y - x W||^2 + alpha ||W||^2; default `default_alphas(x)`, which do not depend on y.

    No fold is fitted. With S = I - H, H the hat matrix of all rows and one penalty, and R = S y,
    the residual of row i without itself is R_i / S_ii, and those of i and j without both solve
    [S_ii S_ij; S_ij S_jj] [e_i; e_j] = [R_i; R_j] (Allen's PRESS, for one row and for two).
    """
    n, k = x.shape
    grid = default_alphas(x) if alphas is None else torch.as_tensor(alphas, dtype=x.dtype)
    flat = y.reshape(-1, n, k)
    U, squares = _directions_without_mean(x)
    out = torch.empty_like(flat)
    least = flat.new_full(flat.shape[:2], torch.inf)
    for alpha in grid:
        S = (U * (alpha / (squares + alpha))) @ U.mT
        residual, own = S @ flat, S.diagonal()
        errors = _errors_without_both(S, residual @ residual.mT)
        better = errors < least
        least = torch.where(better, errors, least)
        out = torch.where(better.unsqueeze(-1), flat - residual / own.unsqueeze(1), out)
    return out.reshape(y.shape)


def _directions_without_mean(
    x: Float[Tensor, "n k"],
) -> tuple[Float[Tensor, "n rest"], Float[Tensor, " rest"]]:
    """An orthonormal basis of all that is orthogonal to the intercept (n - 1 directions), the left
    singular vectors of the centred x among it, and the squares of the singular values.

    So the residuals of a ridge are sums of positive terms: I - H would lose small ones.
    """
    n = len(x)
    start = torch.cat([x.new_ones(n, 1), torch.eye(n, dtype=x.dtype)[:, 1:]], 1)
    rest = torch.linalg.qr(start).Q[:, 1:]
    U, s, _ = torch.linalg.svd(rest.mT @ x, full_matrices=True)
    squares = x.new_zeros(n - 1)
    squares[: len(s)] = s.square()
    return rest @ U, squares


def _errors_without_both(
    S: Float[Tensor, "n n"], grams: Float[Tensor, "p n n"]
) -> Float[Tensor, "p n"]:
    """For every row i the sum over the others j of ||e_j||^2, the residual of j without i and j.

    grams: the inner products of the residuals R with all rows.
    """
    own, squared = S.diagonal(), grams.diagonal(dim1=1, dim2=2)
    determinant = own.unsqueeze(1) * own - S.square()
    weights = determinant.square().reciprocal().fill_diagonal_(0)
    return (
        own.square() * (squared @ weights)
        - 2 * own * (grams * (S * weights)).sum(2)
        + squared * (S.square() * weights).sum(1)
    )


def procrustes_r2(
    x: Float[Tensor, "n k"], y: Float[Tensor, "*p n k"]
) -> tuple[Float[Tensor, "*p"], Float[Tensor, "*p"]]:
    """R2 and scale c of y - mean = c (x - mean) Q, Q orthogonal, on the rows it was fitted to.

    R2 = (sum s)^2 / (||x||^2 ||y||^2), s the singular values of x^T y (both centred), and
    c = sum s / ||x||^2 (Schoenemann and Carroll 1970).
    """
    x, y = x - x.mean(0), y - y.mean(-2, keepdim=True)
    nuclear = torch.linalg.svdvals(x.mT @ y).sum(-1)
    energy = x.square().sum()
    return nuclear.square() / (energy * y.square().sum((-2, -1))), nuclear / energy


def _centred_basis(x: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n r"], Float[Tensor, " r"]]:
    """Left singular vectors and singular values of the centred x, up to its rank."""
    U, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    rank = int((s > s.amax() * max(x.shape) * torch.finfo(x.dtype).eps).sum())
    return U[:, :rank], s[:rank]


def _pairs(
    x: Float[Tensor, "n k"], y: Float[Tensor, "n k"]
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Both in float64. Raises ValueError for other shapes, DataError for what has no R2."""
    if x.shape != y.shape:
        raise ValueError(f"paired coordinates of other shapes: {tuple(x.shape)}, {tuple(y.shape)}")
    if len(x) < 4:
        raise DataError(f"{len(x)} pairs cannot be left out twice: a bridge needs 4 or more")
    x, y = x.double(), y.double()
    if not all(bool(torch.isfinite(z).all() and (z != z[0]).any()) for z in (x, y)):
        raise DataError("coordinates that are all the same, or not finite, have no R2")
    return x, y
