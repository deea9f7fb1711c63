"""Edits that ablate heads: z set to zero, a mean or another sequence's, and values left out.

A position t of the functions below is counted from the sequence's start, or from its end where it
is negative; keys always from the start. `heads` None means all heads of the layer; an edit of all
layers is a list of edits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.attention_view import AttentionView, Edit, Site


def set_z(
    layer: int,
    value: Float[Tensor, "*#seq #head #d_head"],
    heads: Sequence[int] | None = None,
    at: int | None = None,
) -> Edit:
    """z of these heads becomes `value`, at all positions or at one.

    value: broadcasts to [batch, seq, head, d_head], with all heads of the layer: for mean ablation
    the layer's `mean_z`, [head, d_head].
    """

    def change(z: Tensor) -> Tensor:
        new = value.to(z).expand_as(z)
        return torch.where(_heads(z.shape[2], heads, z)[:, None] & _rows(z, at), new, z)

    return Edit(layer, "z", change)


def zero_z(layer: int, heads: Sequence[int] | None = None, at: int | None = None) -> Edit:
    """z of these heads becomes 0, at all positions or at one."""
    return set_z(layer, torch.zeros(1, 1), heads, at)


def resample_z(
    layer: int,
    order: Int[Tensor, " batch"],
    heads: Sequence[int] | None = None,
    at: int | None = None,
) -> Edit:
    """z of these heads becomes that of another sequence of the batch, at all positions or at one.

    order: row b gets the z of row order[b]. Raises DataError if a row would keep its own.
    """
    if order.eq(torch.arange(len(order), device=order.device)).any():
        raise DataError(
            f"order {order.tolist()}: a row would be given its own z; shift the rows instead"
        )

    def change(z: Tensor) -> Tensor:
        return set_z(layer, z[order.to(z.device)], heads, at).change(z)

    return Edit(layer, "z", change)


def without_values(
    layer: int,
    keys: Sequence[int],
    heads: Sequence[int] | None = None,
    row: int | None = None,
) -> Edit:
    """The values of these keys become 0 for these heads; patterns are not rescaled.

    row: for the query at this position alone, by zeros in its row of the pattern; None: for all
    queries. The layer's output at a position is the same in both; later layers also read the
    outputs at others. Values are those of query heads: key-value heads are shared by some others.
    """
    keys = list(keys)

    def of_values(v: Tensor) -> Tensor:
        gone = _heads(v.shape[1], heads, v)[:, None] & _marked(v.shape[2], keys, v)
        return v.masked_fill(gone[..., None], 0)

    if row is None:
        return Edit(layer, "values", of_values)
    query = row

    def of_pattern(a: Tensor) -> Tensor:
        seq = a.shape[2]
        rows = _marked(seq, [_position(seq, query)], a)[:, None]
        columns = _heads(a.shape[1], heads, a)[:, None, None] & _marked(seq, keys, a)
        return a.masked_fill(rows & columns, 0)

    return Edit(layer, "pattern", of_pattern)


def in_rows(parts: Sequence[tuple[slice, Sequence[Edit]]]) -> list[Edit]:
    """Edits of parts of a batch, so that conditions are run together: each sees its rows alone.

    parts: rows of the batch and their edits. One edit is returned for each layer and site.
    """
    found: dict[tuple[int, Site], list[tuple[slice, Edit]]] = {}
    for rows, edits in parts:
        for edit in edits:
            found.setdefault((edit.layer, edit.site), []).append((rows, edit))

    def together(of: list[tuple[slice, Edit]]) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            out = x.clone()
            for rows, edit in of:
                out[rows] = edit.change(out[rows])
            return out

        return change

    return [Edit(layer, site, together(of)) for (layer, site), of in found.items()]


def behind(t: int, offsets: Sequence[int]) -> list[int]:
    """Keys t - d for every d of `offsets`. t counts from the start.

    Raises DataError for a key that is not behind t, or before the first.
    """
    if wrong := [d for d in offsets if not 1 <= d <= t]:
        raise DataError(f"offset {wrong[0]} behind position {t}: offsets are 1 to {t}")
    return [t - d for d in offsets]


def all_previous(t: int, first: int = 0) -> list[int]:
    """Keys `first` to t - 1: t itself stays. first 1 leaves key 0 too, where attention sinks.

    Raises DataError if there is none.
    """
    if not 0 <= first < t:
        raise DataError(f"no key from {first} on is before position {t}")
    return list(range(first, t))


def _position(seq: int, t: int) -> int:
    if not -seq <= t < seq:
        raise DataError(f"position {t} is not in a sequence of {seq}")
    return t % seq


def _rows(
    z: Float[Tensor, "batch seq head d_head"], at: int | None
) -> Bool[Tensor, "seq 1 1"] | Bool[Tensor, ""]:
    """True at the position, or at all of them."""
    if at is None:
        return torch.tensor(True, device=z.device)
    seq = z.shape[1]
    return _marked(seq, [_position(seq, at)], z)[:, None, None]


def _heads(n: int, heads: Sequence[int] | None, like: Tensor) -> Bool[Tensor, " head"]:
    return _marked(n, range(n) if heads is None else heads, like, "head")


def _marked(n: int, chosen: Sequence[int], like: Tensor, what: str = "key") -> Bool[Tensor, " n"]:
    if wrong := [i for i in chosen if not 0 <= i < n]:
        raise DataError(f"{what} {wrong[0]}: there are 0 to {n - 1}")
    found = torch.zeros(n, dtype=torch.bool, device=like.device)
    found[list(chosen)] = True
    return found


# --- generation --------------------------------------------------------------------------------


def persistent(edits: Sequence[Edit]) -> Callable[[int], Sequence[Edit]]:
    """The edits in every step of generation."""
    return lambda step: edits


def one_shot(edits: Sequence[Edit]) -> Callable[[int], Sequence[Edit]]:
    """The edits in the first step of generation alone."""
    return lambda step: edits if step == 0 else ()


def continue_greedily(
    view: AttentionView,
    tokens: Int[Tensor, "batch seq"],
    n: int,
    edits: Callable[[int], Sequence[Edit]],
) -> Int[Tensor, "batch n"]:
    """The n likeliest next tokens, one after another; edits: of each step, counted from 0.

    Every step runs the whole sequence, so that an edit that persists changes what earlier
    positions give. A position that is counted from the end moves with the sequence.
    """
    for step in range(n):
        logits = view.run(tokens, edits(step), read=[-1]).logits[:, 0]
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], 1)
    return tokens[:, tokens.shape[1] - n :]
