"""Which tokens of a prompt count, their mean, and a value against draws of a null.

Positions: attention masks are [batch, seq] with 1 for a real token, padded on the left; the first
real token (position 0) collects attention and massive activations, and can be left out. Where it
is, so is every other token whose state is massive (Sun et al. 2024, Massive Activations in Large
Language Models): such a token would decide a mean, a space's energy, or a patch alone.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.core.errors import DataError

MASSIVE = 10.0
"""A state is massive if its norm passes this many times the median of its layer and language."""


def norms_of(states: Float[Tensor, "*tokens d"]) -> Float[Tensor, "*tokens"]:
    """Their norms, in float32: the squares of a massive one pass the end of float16."""
    return torch.linalg.vector_norm(states.float(), dim=-1)


def largest_norm(norms: Float[Tensor, " tokens"]) -> float:
    """The norm from which on a state is massive, by those of all real tokens of a layer and
    language."""
    return MASSIVE * float(norms.median())


def positions_used(
    mask: Int[Tensor, "batch seq"],
    skip_first: bool = False,
    massive: Bool[Tensor, "batch seq"] | None = None,
) -> Bool[Tensor, "batch seq"]:
    """Real tokens, without the first real one if asked, and without massive ones.

    Raises DataError if a row has none left.
    """
    used = mask.bool()
    if skip_first:
        used = used & (used.cumsum(1) > 1)
    if massive is not None:
        used = used & ~massive
    if not bool(used.any(1).all()):
        raise DataError("an example has no tokens left to measure")
    return used


def pool(
    x: Float[Tensor, "batch seq d"], used: Bool[Tensor, "batch seq"]
) -> Float[Tensor, "batch d"]:
    """Mean over the used positions, in float64; what is elsewhere, NaN included, does not count."""
    x = x.double().masked_fill(~used.unsqueeze(-1), 0)
    return x.sum(1) / used.sum(1, keepdim=True)


def z_score(value: float, null: Float[Tensor, " draws"] | None) -> float:
    """(value - mean) / standard deviation of draws of the null. DataError with fewer than 2."""
    if null is None or len(null) < 2:
        raise DataError("a z score needs 2 or more draws of the null")
    return (value - float(null.mean())) / float(null.std())
