"""The logits after two tokens alone, a key and a query: all paths, exactly.

One-head readouts (`rule_search`, `circuits`) miss paths through two heads, where an early layer
rewrites the query or the key before a later one reads it. For two tokens with nothing around them
all paths together are cheap to compute, without running data through the model. Paths through a
third token are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.toylang.readouts.weights import TensorWeights, mean_over


def alone_logits(weights: TensorWeights) -> Float[Tensor, "token next"]:
    """Logits after a token with nothing before it."""
    return _alone(weights)[-1] @ weights.U


def two_token_logits(
    weights: TensorWeights, offsets: Sequence[int]
) -> Float[Tensor, "query key next"]:
    """Logits after a query token with one key token before it: the mean over its distances.

    Raises:
        DataError: no offset.
    """
    keys = _alone(weights)
    return mean_over(offsets, lambda offset: _stream(weights, keys, offset)) @ weights.U


def _alone(weights: TensorWeights) -> list[Float[Tensor, "token d"]]:
    """The stream of every token alone, before every layer and after the last."""
    streams = [weights.E]
    for layer in range(weights.n_layers):
        streams.append(streams[-1] + _own(weights, layer, streams[-1]))
    return streams


def _own(weights: TensorWeights, layer: int, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """What the heads write when a token attends to itself."""
    pattern = weights.paired_patterns(layer, 0, x, x)
    read = torch.einsum("...d,hde->...he", x, weights.v[layer])
    return torch.einsum("...h,...he,hed->...d", pattern, read, weights.o[layer])


def _stream(
    weights: TensorWeights, keys: Sequence[Float[Tensor, "key d"]], offset: int
) -> Float[Tensor, "query key d"]:
    """The query's stream after the last layer. A key's own does not see the query."""
    x = weights.E.unsqueeze(1)  # the same for every key until a head has read one
    for layer in range(weights.n_layers):
        pattern = weights.paired_patterns(layer, offset, x, keys[layer])
        written = weights.writes(layer, keys[layer])
        x = x + _own(weights, layer, x) + torch.einsum("qkh,hkd->qkd", pattern, written)
    return x
