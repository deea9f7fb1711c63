"""What a layer takes from the key d tokens back, and by which head: _offsets, _layer_offsets.

With u_h(j) = v_h(j) W_O(h), a head writes A_h(t, t-d) u_h(t-d) at t from the key d tokens back, and
this is what the layer's output loses with the value there (`models/value_parts.py`). So one clean
run gives, over all t and sequences,

    captured(h, d) = 1 - sum |parts of the other heads| / sum |parts of all heads|
    share(d)       = sum <out, parts of all heads> / sum |out|^2

The mean of 1 - |others| / |all| is so weighted by |all|: where the layer takes nothing from a key,
it has no share. share(d) is 1 less the normalised inner product of the protocol (pull request 403
of goodfire-ai/spd); over all keys of a row the shares sum to 1. Rows begin at d + 1, so that the
first key, where attention rests, is none of an offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.models.attention_view import AttentionView, LayerHeads
from zscope.stats import bootstrap_interval, finite
from zscope.tables.schema import Row


@dataclass(frozen=True, eq=False)
class OffsetSums:
    """Sums over the rows of each sequence, by offset from 0.

    Attributes:
        others: |parts of the other heads|.
        every: |parts of all heads|.
        along: <out, parts of all heads>.
        out: |out|^2, over the rows of the offset.
    """

    others: Float[np.ndarray, "n layer head offset"]
    every: Float[np.ndarray, "n layer offset"]
    along: Float[np.ndarray, "n layer offset"]
    out: Float[np.ndarray, "n layer offset"]


def offset_sums(
    view: AttentionView, tokens: Int[Tensor, "n seq"], max_offset: int, batch_size: int
) -> OffsetSums:
    """From one clean run. Offsets that no row has are left out."""
    n, seq = tokens.shape
    offsets = range(min(max_offset, seq - 2) + 1)
    shape = (n, view.n_layers, len(offsets))
    others = np.zeros((n, view.n_layers, view.n_heads, len(offsets)))
    every, along, out = (np.zeros(shape) for _ in range(3))

    def add(heads: LayerHeads) -> None:
        for d, found in zip(offsets, _of_layer(heads, offsets), strict=True):
            others[at, heads.layer, :, d] = found.others
            every[at, heads.layer, d] = found.every
            along[at, heads.layer, d] = found.along
            out[at, heads.layer, d] = found.out

    for rows in torch.arange(n).split(batch_size):
        at = rows.numpy()
        view.run(tokens[rows].to(view.device), visit=add, read=[-1])
    return OffsetSums(others, every, along, out)


def _of_layer(heads: LayerHeads, offsets: range) -> Iterator[OffsetSums]:
    """Of every offset; without the axes of layers and offsets.

    Norms of sums come from the products u_h(j) . u_k(j): no sum is made per head and row.
    """
    written = torch.einsum("bhje,hed->bjhd", heads.values, heads.weights.W_O)
    output = torch.einsum("bthe,hed->btd", heads.z, heads.weights.W_O)
    # Squares of what is left of a sum cancel; and not every GPU has float64.
    gram = (written.cpu().double() @ written.cpu().double().mT).contiguous()
    pattern, squares = heads.pattern.cpu().double(), output.square().sum(-1).cpu().double()
    for d in offsets:
        a = pattern.diagonal(-d, 2, 3)[..., 1:].mT  # [batch, row, head]
        of_key = gram[:, 1 : 1 + a.shape[1]]
        with_all = (of_key @ a.unsqueeze(-1)).squeeze(-1)  # part . sum of parts, but for a
        whole = (a * with_all).sum(-1)
        left = whole.unsqueeze(-1) - 2 * a * with_all + a.square() * of_key.diagonal(0, 2, 3)
        along = torch.einsum("btd,bthd->bth", output[:, d + 1 :], written[:, 1 : 1 + a.shape[1]])
        yield OffsetSums(
            left.clamp(min=0).sqrt().sum(1).numpy(),
            whole.clamp(min=0).sqrt().sum(1).numpy(),
            (along.cpu().double() * a).sum((1, 2)).numpy(),
            squares[:, d + 1 :].sum(1).numpy(),
        )


def offset_rows(sums: OffsetSums, bootstrap: Bootstrap) -> Iterator[Row]:
    """Rows of table heads_offsets without subject and model."""
    every = np.broadcast_to(sums.every[:, :, None], sums.others.shape)
    left, low, high = _ratio(sums.others, every, bootstrap)
    for layer, head, d in np.ndindex(left.shape):
        yield {
            **{"layer": layer, "head": head, "offset": d, "n": len(sums.others)},
            "value": finite(float(1 - left[layer, head, d])),
            "ci_low": finite(float(1 - high[layer, head, d])),
            "ci_high": finite(float(1 - low[layer, head, d])),
        }


def layer_offset_rows(sums: OffsetSums, bootstrap: Bootstrap) -> Iterator[Row]:
    """Rows of table heads_layer_offsets without subject and model."""
    share, low, high = _ratio(sums.along, sums.out, bootstrap)
    for layer, d in np.ndindex(share.shape):
        yield {
            **{"layer": layer, "offset": d, "n": len(sums.along)},
            "value": finite(float(share[layer, d])),
            "ci_low": finite(float(low[layer, d])),
            "ci_high": finite(float(high[layer, d])),
        }


def _ratio(
    above: Float[np.ndarray, "n ..."], below: Float[np.ndarray, "n ..."], bootstrap: Bootstrap
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ratio of sums over sequences, with its interval; NaN where the lower sum is 0."""
    shape, n = above.shape[1:], len(above)
    above, below = above.reshape(n, -1), below.reshape(n, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = above.sum(0) / below.sum(0)
    low, high = bootstrap_interval(above, below, bootstrap=bootstrap)
    return value.reshape(shape), low.reshape(shape), high.reshape(shape)
