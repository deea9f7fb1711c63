"""The bigram table in the weights: E U, and what heads add when a token attends to itself."""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.studies.toylang.readouts.weights import TensorWeights


def direct_path(weights: TensorWeights) -> Float[Tensor, "token next"]:
    """E U: logits of the path through no head."""
    return weights.E @ weights.U


def self_attention(weights: TensorWeights) -> Float[Tensor, "token next"]:
    """Sum over layers and heads of A(t, t, 0) OV(t -> o): paths through one head at the token."""
    total = torch.zeros(weights.d_vocab, weights.d_vocab, dtype=torch.float64)
    for layer in range(weights.n_layers):
        own = weights.patterns(layer, 0, weights.E, weights.E).diagonal(dim1=1, dim2=2)
        total += torch.einsum("ht,hto->to", own, weights.outputs(layer, weights.E))
    return total


def token_logits(weights: TensorWeights) -> Float[Tensor, "token next"]:
    """B: the logits of the last token alone, through no head or one."""
    return direct_path(weights) + self_attention(weights)


@dataclass(frozen=True)
class DirectFit:
    """How well logits agree with true log-probabilities.

    Attributes:
        pearson_r: over the `cells` whose probability is not 0, both centred by row; NaN if one of
            them does not vary.
        top1: rows with a unique largest logit that is at a largest probability.
    """

    pearson_r: float
    top1: int
    rows: int
    cells: int


def fit_direct(
    logits: Float[Tensor, "token next"], log_probs: Float[Tensor, "token next"]
) -> DirectFit:
    """Compare the same cells of a logit and a log-probability table (-inf: impossible).

    Raises:
        DataError: the tables differ in shape, or a row has no possible cell.
    """
    if logits.shape != log_probs.shape:
        raise DataError(
            f"logits {tuple(logits.shape)} and log-probabilities {tuple(log_probs.shape)} are not "
            "of the same cells\ntake the same tokens of both"
        )
    possible = log_probs.isfinite()
    count = possible.sum(1, keepdim=True)
    if not bool((count > 0).all()):
        row = int((count == 0).nonzero()[0, 0])
        raise DataError(f"row {row}: every probability is 0\ntake the tokens that may come next")

    def centred(x: Tensor) -> Tensor:
        kept = x.double().where(possible, 0.0)
        return (kept - kept.sum(1, keepdim=True) / count)[possible]

    a, b = centred(logits), centred(log_probs)
    r = a @ b / (a.norm() * b.norm())
    largest = logits == logits.amax(1, keepdim=True)
    right = largest & (log_probs == log_probs.amax(1, keepdim=True))
    top1 = int((right.any(1) & (largest.sum(1) == 1)).sum())
    return DirectFit(float(r), top1, len(logits), int(possible.sum()))
