"""Slices of a head's QK and OV circuits between sets of tokens, and their product.

In a bilinear model a rule may be a negative pattern times a negative output; which factor has the
minus sign is a choice of gauge, the sign of the product is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.toylang.readouts.weights import TensorWeights


def qk_slice(
    weights: TensorWeights,
    layer: int,
    head: int,
    offset: int,
    queries: Sequence[int],
    keys: Sequence[int],
) -> Float[Tensor, "q k"]:
    """A of a head between token embeddings, the key `offset` tokens before the query."""
    tokens = weights.E
    return weights.patterns(layer, offset, tokens[list(queries)], tokens[list(keys)])[head]


def ov_slice(
    weights: TensorWeights, layer: int, head: int, keys: Sequence[int], outputs: Sequence[int]
) -> Float[Tensor, "k o"]:
    """Logits that a head writes of token embeddings, for a pattern of 1."""
    return weights.outputs(layer, weights.E[list(keys)])[head][:, list(outputs)]


def product_slice(
    weights: TensorWeights,
    layer: int,
    head: int,
    offset: int,
    queries: Sequence[int],
    keys: Sequence[int],
    outputs: Sequence[int],
) -> Float[Tensor, "q k o"]:
    """A(q, k, offset) OV(k -> o): the logits that the head adds, free of gauge."""
    pattern = qk_slice(weights, layer, head, offset, queries, keys)
    return pattern.unsqueeze(-1) * ov_slice(weights, layer, head, keys, outputs)


def head_boosts(
    weights: TensorWeights, offsets: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> Float[Tensor, "layer head pair vocab"]:
    """The product of every head for (query, key) pairs, the mean over `offsets` of the key.

    Summed over layers and heads this is T of the rule search (`rules.search`).

    Raises:
        DataError: no offset.
    """
    queries, keys = (weights.E[[pair[i] for pair in pairs]] for i in (0, 1))
    return torch.stack(
        [
            weights.mean_patterns(layer, offsets, queries, keys).diagonal(dim1=1, dim2=2)[..., None]
            * weights.outputs(layer, keys)
            for layer in range(weights.n_layers)
        ]
    )
