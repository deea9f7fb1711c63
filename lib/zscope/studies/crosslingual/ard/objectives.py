"""Experiment C: lengthscales of a Gaussian kernel fitted to parallel texts, by two objectives.

The original one (protocol C.3) minimises sum_i MMD^2(zh_i, en_i; l) + lambda sum_j 1/l_j over
log l. What it can and cannot do follows from its form:

- At l = inf both terms are exactly 0, and for tokens drawn independently the expected value is
  above 0 everywhere else: its only minimum is the empty Z. The estimate is unbiased, so a fit can
  fall below 0 all the same, by lengthscales at which it happens to be negative for these tokens;
  that need not hold for other problems. Tokens that occur in both texts lower it for any problem:
  two clouds of the same m tokens give -2/m (1 - the mean kernel of different tokens). Which of the
  two a negative value comes from, only the held-out value can suggest.
- MMD^2 does not change when both clouds of a problem are shifted alike, so what the languages share
  about a problem is invisible: a shared dimension and pure noise look the same.
- To first order in 1/l^2 the first term is sum_j U_j / l_j^2, U_j the unbiased squared difference
  of the languages' means in dimension j (`language_mean_gap`): a t-test of the language mean.

The contrast asks that a translation lie nearer than other problems of its category, so that what a
category shares is worth nothing. Its precisions
are p_j = s softmax(a)_j / var_j: they share a fixed budget, so no dimension is bought by switching
the kernel off, and s puts the median pair of tokens at an exponent of 1 under equal weights.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from zscope.core.errors import DataError
from zscope.studies.crosslingual.ard.kernel import (
    Clouds,
    Group,
    group_mmd,
    make_groups,
    make_pairs,
    paired_mmd,
)

Loss: TypeAlias = Literal["gap", "info_nce"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
EVERY = 10  # steps between two records of a fit
SMALL = 3.0  # standard deviations below which a lengthscale counts as small
LEAST_ENERGY = 1e-6  # added to a dimension's energy in V_Z before its logarithm is taken
MOST_TOKENS = 1000  # tokens whose distances give the median
LEAST_VARIANCE = 1e-6  # of the median variance: a dead dimension is divided by this


class OriginalRecord(NamedTuple):
    """The original objective after `step` updates."""

    step: int
    value: float
    mmd: float
    penalty: float
    n_below_median: int
    n_below_threshold: int


@dataclass(frozen=True, eq=False)
class OriginalFit:
    """Fitted log lengthscales, and records of every 10 steps and of the last."""

    log_l: Float[Tensor, " d"]
    records: tuple[OriginalRecord, ...]


@dataclass(frozen=True, eq=False)
class ContrastFit:
    """Weights (softmax of a, summing to 1), the precisions they stand for, and the loss by step."""

    weights: Float[Tensor, " d"]
    precision: Float[Tensor, " d"]
    losses: tuple[float, ...]


# --- the original objective ---------------------------------------------------------------------


def svd_init(V: Float[Tensor, "k d"]) -> Float[Tensor, " d"]:
    """The protocol's C.4: log l_j = -log(energy of dimension j in the space + 1e-6)."""
    return -(V.square().sum(0) + LEAST_ENERGY).log()


def original_value(
    clouds: Clouds, log_l: Float[Tensor, " d"], penalty_weight: float
) -> Float[Tensor, ""]:
    """The original objective in float64; log l of inf is a dimension that is switched off."""
    log_l = log_l.double()
    mmd = paired_mmd(make_pairs(clouds.to(torch.float64)), (-2 * log_l).exp()).sum()
    return mmd + penalty_weight * (-log_l).exp().sum()


def fit_original(
    clouds: Clouds, log_l: Float[Tensor, " d"], penalty_weight: float, *, steps: int, lr: float
) -> OriginalFit:
    """Adam on log l from `log_l`, for exactly `steps` updates.

    clouds: centred, in the dtype of the fit. Two sizes of Z are recorded: dimensions whose l is
    below the median of l (the protocol's, half of all by construction unless l ties), and those
    whose l is below 3 standard deviations of the dimension: the kernel still sees differences.
    """
    pairs, sd = make_pairs(clouds), deviations(clouds)
    log_l = log_l.to(clouds.zh.dtype).clone().requires_grad_()
    optimizer = torch.optim.Adam([log_l], lr=lr)
    records: list[OriginalRecord] = []

    def terms() -> tuple[Tensor, Tensor]:
        mmd = paired_mmd(pairs, (-2 * log_l).exp()).sum()
        return mmd, penalty_weight * (-log_l).exp().sum()

    def record(step: int, mmd: Tensor, penalty: Tensor) -> None:
        now = log_l.detach()
        below, small = now < now.quantile(0.5), now.exp() < SMALL * sd
        value = float(mmd) + float(penalty)
        counts = int(below.sum()), int(small.sum())
        records.append(OriginalRecord(step, value, float(mmd), float(penalty), *counts))

    for step in range(steps):
        mmd, penalty = terms()
        if step % EVERY == 0:
            record(step, mmd.detach(), penalty.detach())
        optimizer.zero_grad(set_to_none=True)
        (mmd + penalty).backward()
        optimizer.step()
    with torch.no_grad():
        record(steps, *terms())
    return OriginalFit(log_l.detach(), tuple(records))


def plateau(values: Mapping[int, float], window: int = 100, tolerance: float = 1e-3) -> int | None:
    """The protocol's "stop when MMD plateaus" (C.5) as a rule: the first step at which the value
    has fallen by less than `tolerance` of itself in the last `window` steps; None if it never has.

    values: of the objective, by step.
    """
    for step, value in values.items():
        before = values.get(step - window)
        if before is not None and before - value < tolerance * abs(before):
            return step
    return None


def mmd_slope(clouds: Clouds, precision: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """Derivative in every p_j of the first term of the original objective, in float64."""
    p = precision.double().clone().requires_grad_()
    mmd = paired_mmd(make_pairs(clouds.to(torch.float64)), p).sum()
    return torch.autograd.grad(mmd, p)[0]


def language_mean_gap(clouds: Clouds) -> Float[Tensor, " d"]:
    """sum_i U_ij, U_ij the unbiased squared difference of problem i's two means in dimension j.

    U = (mean_zh - mean_en)^2 - var_zh / n - var_en / m. The derivative of sum_i MMD^2 in p_j at
    p = 0 is exactly this.
    """
    total, squared_error = [], []
    for x, mask in ((clouds.zh, clouds.zh_mask), (clouds.en, clouds.en_mask)):
        x, real = x.double(), mask.double().unsqueeze(-1)
        n = real.sum(1)
        mean = x.sum(1) / n
        variance = ((x - mean.unsqueeze(1)).square() * real).sum(1) / (n - 1)
        total.append(mean)
        squared_error.append(variance / n)
    gap = (total[0] - total[1]).square() - squared_error[0] - squared_error[1]
    return gap.sum(0)


# --- the contrast -----------------------------------------------------------------------------


def negative_groups(categories: Shaped[np.ndarray, " n"]) -> list[list[int]]:
    """Problems that are compared with each other: those of a category.

    A category of one problem is left out: were its problem compared with all others, the category
    alone would tell them apart. Raises DataError if no category has two problems.
    """
    groups = [np.flatnonzero(categories == c).tolist() for c in np.unique(categories)]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        raise DataError("a contrast needs a category with 2 or more problems that are fitted to")
    return groups


def fit_contrast(
    clouds: Clouds,
    categories: Shaped[np.ndarray, " n"],
    *,
    loss: Loss,
    steps: int,
    lr: float,
    tau: float,
) -> ContrastFit:
    """Adam on a from equal weights. clouds: centred, in the dtype of the fit.

    loss "gap": MMD^2(zh_i, en_i) minus its mean over j != i of MMD^2(zh_i, en_j). "info_nce": the
    cross-entropy (nats) of the right partner under softmax(-MMD^2 / tau), mean of both directions.
    """
    group = make_groups(clouds, negative_groups(categories))
    objective: Callable[[Tensor, Group], Tensor] = (
        gap_loss if loss == "gap" else lambda M, g: info_nce_loss(M, g, tau)
    )
    scale = uniform_precision(clouds) * clouds.d
    a = torch.zeros(clouds.d, dtype=clouds.zh.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([a], lr=lr)
    losses: list[Tensor] = []
    for _ in range(steps):
        value = objective(group_mmd(group, a.softmax(0) * scale), group)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        losses.append(value.detach())
    weights = a.detach().softmax(0)
    return ContrastFit(weights, weights * scale, tuple(torch.stack(losses).tolist()))


def gap_loss(M: Float[Tensor, "g m m"], group: Group) -> Float[Tensor, ""]:
    """Mean over problems i of M_ii - mean over j != i of M_ij."""
    valid = group.valid.to(M.dtype)
    both = valid.unsqueeze(-1) * valid.unsqueeze(-2)
    others = (both - torch.diag_embed(valid)) / (both.sum(-1, keepdim=True) - 1).clamp(min=1)
    own = M.diagonal(dim1=-2, dim2=-1)
    return ((own - (M * others).sum(-1)) * valid).sum() / valid.sum()


def info_nce_loss(M: Float[Tensor, "g m m"], group: Group, tau: float) -> Float[Tensor, ""]:
    """Mean over problems and both directions of -log softmax(-M / tau) at the right partner."""
    missing = ~(group.valid.unsqueeze(-1) & group.valid.unsqueeze(-2))
    logits = (-M / tau).masked_fill(missing, -torch.finfo(M.dtype).max / 2)
    target = torch.arange(M.shape[-1]).expand(M.shape[:2])[group.valid]
    rows, columns = logits[group.valid], logits.mT[group.valid]
    return (F.cross_entropy(rows, target) + F.cross_entropy(columns, target)) / 2


def uniform_precision(clouds: Clouds) -> Float[Tensor, " d"]:
    """p_j = s / (d var_j): equal weights, with s from the median heuristic.

    s = 1 / median of sum_j (x_j - y_j)^2 / (2 d var_j) over pairs of tokens of either language, so
    that the kernel of the median pair is 1/e.
    """
    variance = deviations(clouds).square()
    variance = variance.clamp(min=LEAST_VARIANCE * float(variance.median()))
    tokens = clouds.tokens()
    tokens = tokens[:: -(-len(tokens) // MOST_TOKENS)] / variance.sqrt()
    squared = F.pdist(tokens).square() / (2 * clouds.d)
    return 1 / (clouds.d * variance * squared.median())


def deviations(clouds: Clouds) -> Float[Tensor, " d"]:
    """Standard deviation of every dimension over all tokens; DataError if most are constant."""
    sd = clouds.tokens().double().std(0).to(clouds.zh.dtype)
    if not float(sd.median()) > 0:
        raise DataError("most dimensions are constant: there is nothing to scale a kernel by")
    return sd
