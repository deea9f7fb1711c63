"""What a layer's output at one position takes from the values of each earlier key, in closed form.

Patterns do not depend on their layer's values, so that with those of key t - d at zero the output
at t changes by exactly

    -sum_h A_h(t, t-d) v_h(t-d) W_O(h)

over the heads that lose them. One clean run therefore gives the effect of every such ablation on
the layer's output, which the protocol (lee-goodfire 2026, pull request 403 of goodfire-ai/spd)
measures by one run each. The output is that of attention itself, before a norm that it may pass
(Gemma 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.models.attention_view import LayerHeads
from zscope.models.head_edits import behind


def value_parts(
    heads: LayerHeads, t: int, keys: Sequence[int]
) -> Float[Tensor, "batch key head d"]:
    """A_h(t, j) v_h(j) W_O(h) of every key j: what head h writes at t from it. t from the start."""
    chosen = list(keys)
    mixed = heads.pattern[:, :, t, chosen, None] * heads.values[:, :, chosen]
    return torch.einsum("bhke,hed->bkhd", mixed, heads.weights.W_O)


def captured(parts: Float[Tensor, "batch key head d"]) -> Float[Tensor, "batch key head"]:
    """1 - norm(sum of the other heads' parts) / norm(sum of all heads' parts).

    1: nothing of the key is left without the head; 0: the head takes no share; negative: the others
    alone write more. Not a number where all heads together write nothing.
    """
    total = parts.sum(2, keepdim=True)
    left = torch.linalg.vector_norm(total - parts, dim=-1)
    return 1 - left / torch.linalg.vector_norm(total, dim=-1)


@dataclass(frozen=True, eq=False)
class Similarity:
    """How much of an output an ablation leaves, as the protocol measures it.

    Attributes:
        nip: normalised inner product, <base, ablated> / |base|^2; 1: nothing is lost along base.
        cosine: <base, ablated> / (|base| |ablated|).
    """

    nip: Float[Tensor, "*n"]
    cosine: Float[Tensor, "*n"]


def similarity(base: Float[Tensor, "*n d"], ablated: Float[Tensor, "*n d"]) -> Similarity:
    """Of each pair of outputs; not a number where one of them is 0."""
    product = (base * ablated).sum(-1)
    norm = torch.linalg.vector_norm(base, dim=-1)
    other = torch.linalg.vector_norm(ablated, dim=-1)
    return Similarity(product / norm.square(), product / (norm * other))


@dataclass(frozen=True, eq=False)
class OffsetProfile:
    """The layer's output at t against itself under ablations of values at t - d.

    Attributes:
        without_head: the heads' z at t is 0.
        without_values: all heads lose the values at t - d.
        without_both: both. Where it equals `without_head`, the heads carry all that the layer takes
            from t - d: the protocol's previous-token redundancy.
    """

    without_head: Similarity
    without_values: Similarity
    without_both: Similarity


def offset_profile(
    heads: LayerHeads, t: int, offsets: Sequence[int], of: Sequence[int]
) -> OffsetProfile:
    """The profile over `offsets` for the heads `of`, from one run.

    Shapes are [batch] of `without_head`, [batch, offset] of the others. Raises DataError for an
    offset that no key has.
    """
    parts = value_parts(heads, t, behind(t, offsets))
    chosen = list(of)
    others = [h for h in range(parts.shape[2]) if h not in chosen]
    base = heads.output(t)
    own = torch.einsum("bhe,hed->bd", heads.z[:, t, chosen], heads.weights.W_O[chosen])
    rows = base[:, None].expand_as(parts[:, :, 0])
    return OffsetProfile(
        similarity(base, base - own),
        similarity(rows, rows - parts.sum(2)),
        similarity(rows, rows - own[:, None] - parts[:, :, others].sum(2)),
    )
