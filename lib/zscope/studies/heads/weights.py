"""Weights of a head on its keys: attention, contribution, and attention without the first key.

    attention      A_ij                                             patterns that are shares only
    contribution   |A_ij| |W_O v_j| / sum_j |A_ij| |W_O v_j|        all patterns, also signed ones
    without_first  A_ij / sum_{j > 0} A_ij, and 0 on key 0          beside attention, never alone

The contribution is that of Kobayashi et al. 2020 ("Attention is not only a weight"). Each row of
weights sums to 1, or to 0 where there is nothing to share out.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

WeightKind: TypeAlias = Literal["attention", "contribution", "without_first"]
WEIGHT_KINDS: tuple[WeightKind, ...] = get_args(WeightKind)
SUMS_TO_ONE = 1e-2  # what bfloat16 leaves of a sum of 1


def attention(
    pattern: Float[Tensor, "batch head query key"],
) -> Float[Tensor, "batch head query key"]:
    """The pattern itself. Raises ValueError if it is signed, or if its rows do not sum to 1."""
    if pattern.numel() and float(pattern.detach().min()) < 0:
        raise ValueError("a signed pattern has no attention weights: use contribution")
    if not torch.allclose(sums := pattern.sum(-1), torch.ones_like(sums), atol=SUMS_TO_ONE):
        raise ValueError("rows of the pattern do not sum to 1: use contribution")
    return pattern


def contribution(
    pattern: Float[Tensor, "batch head query key"],
    values: Float[Tensor, "batch head key d_head"],
    W_o: Float[Tensor, "head d_head d"],
) -> Float[Tensor, "batch head query key"]:
    """Share of each key in the lengths of what the head writes.

    values: per query head (key-value heads repeated). W_o: maps a head's z to the residual stream,
    z @ W_o. A layer's norm behind attention scales all keys of a row alike, if it has no gain.
    """
    gram = W_o.float() @ W_o.float().mT  # |v W|^2 = v W W^T v^T: [d_head, d_head], not [seq, d]
    v = values.float()
    lengths = ((v @ gram) * v).sum(-1).clamp(min=0).sqrt()
    return _shares(pattern.float().abs() * lengths.unsqueeze(-2))


def without_first(
    pattern: Float[Tensor, "batch head query key"],
) -> Float[Tensor, "batch head query key"]:
    """Attention to all keys but the first, as shares. Raises ValueError as `attention`."""
    rest = attention(pattern).clone()
    rest[..., 0] = 0
    return _shares(rest)


def layer_weights(
    kind: WeightKind,
    pattern: Float[Tensor, "batch head query key"],
    values: Float[Tensor, "batch head key d_head"],
    W_o: Float[Tensor, "head d_head d"],
) -> Float[Tensor, "batch head query key"]:
    """The weights of one layer. Raises ValueError for an unknown kind, or as `attention`."""
    if kind == "contribution":
        return contribution(pattern, values, W_o)
    if kind == "attention":
        return attention(pattern)
    if kind == "without_first":
        return without_first(pattern)
    raise ValueError(f"unknown weights {kind!r}: there are {', '.join(WEIGHT_KINDS)}")


def _shares(x: Float[Tensor, "*batch key"]) -> Float[Tensor, "*batch key"]:
    total = x.sum(-1, keepdim=True)
    return x / torch.where(total > 0, total, torch.ones_like(total))
