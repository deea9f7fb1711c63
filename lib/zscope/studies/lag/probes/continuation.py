"""The rest of a forward pass from a layer and position on, over keys and values kept earlier.

A patch at position p changes nothing before p, and only the predicting position is read. So it is
enough to recompute the few positions from p on, with the clean run's keys and values of the earlier
ones; a test compares the result with that of a hooked run. Several continuations of the same prompt
(`branches`: candidates, or one patch per head) share its keys and values and do not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformer_lens.model_bridge import TransformerBridge

KeysValues = Sequence[Float[Tensor, "n past heads d_head"]]


def embed(
    wrapped: TransformerBridge, tokens: Int[Tensor, "n branches seq"], start: int
) -> Float[Tensor, "n branches seq d"]:
    """Residual stream entering block 0 of tokens at positions `start` and later."""
    flat = tokens.flatten(0, 1)
    positions = torch.arange(start, start + tokens.shape[2], device=tokens.device)
    x = wrapped.embed(flat) + wrapped.pos_embed(positions.expand_as(flat))
    return x.unflatten(0, tokens.shape[:2])


def unembed(wrapped: TransformerBridge, resid: Float[Tensor, "*n d"]) -> Float[Tensor, "*n vocab"]:
    """Logits of a residual stream, through the model's own final norm."""
    return wrapped.unembed(wrapped.ln_final(resid))


def continue_from(
    wrapped: TransformerBridge,
    layer: int,
    resid: Float[Tensor, "n branches seq d"],
    keys: KeysValues,
    values: KeysValues,
) -> Float[Tensor, "n branches seq d"]:
    """Residual stream after the last block, given the one that enters block `layer`.

    resid: the positions after the past, in order, for each continuation of the same past.
    keys, values: of the past positions, one tensor per block (`attn.hook_k`, `attn.hook_v`).
    Position q of a branch attends to the whole past and to its own branch up to q.
    """
    n, branches, seq, d = resid.shape
    x = resid.reshape(n, branches * seq, d)
    for block, past_k, past_v in zip(
        list(wrapped.blocks)[layer:], keys[layer:], values[layer:], strict=True
    ):
        past, heads, d_head = past_k.shape[1:]
        normed = block.ln1(x)
        q, k, v = (
            f(normed).view(n, branches * seq, heads, d_head)
            for f in (block.attn.q, block.attn.k, block.attn.v)
        )
        z = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            torch.cat([past_k, k], 1).transpose(1, 2),
            torch.cat([past_v, v], 1).transpose(1, 2),
            attn_mask=_visible(branches, seq, past, x.device),
        )
        x = x + block.attn.o(z.transpose(1, 2).reshape(n, branches * seq, d))
        x = x + block.mlp(block.ln2(x))
    return x.view(n, branches, seq, d)


@cache
def _visible(
    branches: int, seq: int, past: int, device: torch.device
) -> Bool[Tensor, "queries keys"]:
    branch = torch.arange(branches, device=device).repeat_interleave(seq)
    position = torch.arange(seq, device=device).repeat(branches)
    own = (branch[:, None] == branch) & (position[:, None] >= position)
    return torch.cat([own.new_ones(branches * seq, past), own], 1)
