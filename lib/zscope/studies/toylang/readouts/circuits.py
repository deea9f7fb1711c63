"""The product of every head's QK and OV circuits, for pairs of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.toylang.readouts.weights import TensorWeights


def head_boosts(
    weights: TensorWeights, offsets: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> Float[Tensor, "layer head pair vocab"]:
    """A(query, key) OV(key) of every head, averaged over the key's `offsets`, in nats of logit.

    The sum over layers and heads is T of the rule search (`rule_search.search`). A rule may be a
    negative pattern times a negative output: which factor has the minus sign is a choice of gauge,
    the sign of the product is not.

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
