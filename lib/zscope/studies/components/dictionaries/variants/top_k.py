"""The k largest codes of each input (Makhzani and Frey 2013; Gao et al. 2024)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.studies.components.dictionaries.stack import Codes, Inputs, Stack, squared_error
from zscope.studies.components.dictionaries.variants.kind import Kind, Terms

AUXILIARY = 1 / 32
"""Weight of the loss of dead latents on the residual (Gao et al. 2024)."""


def keep_largest(codes: Codes, k: Float[Tensor, " n"]) -> Codes:
    """All but the k largest codes of each input set to 0; k may differ between dictionaries."""
    counts = k.long().clamp(max=codes.shape[-1])
    values, at = codes.topk(int(counts.max()), dim=-1)
    if int(counts.min()) < values.shape[-1]:
        values = values * (torch.arange(values.shape[-1]) < counts[:, None, None])
    return torch.zeros_like(codes).scatter(-1, at, values)


def encode(stack: Stack, x: Inputs) -> Codes:
    return keep_largest(stack.pre(x).relu(), stack.strength)


def dead_latents_loss(
    stack: Stack, x: Inputs, pre: Codes, found: Inputs, dead: Bool[Tensor, "n latent"]
) -> Float[Tensor, " n"]:
    """|e - e^|^2 where dead latents alone explain the residual e, d/2 of them at most.

    The residual is a constant: the loss moves dead latents only. 0 for a dictionary without any.
    """
    some = min(x.shape[-1] // 2, int(dead.sum(-1).max()))
    values, at = pre.masked_fill(~dead[:, None], 0.0).relu().topk(some, dim=-1)
    codes = torch.zeros_like(pre).scatter(-1, at, values)
    missing = x - found.detach()
    return squared_error(missing, torch.bmm(codes, stack.W_dec)) * dead.any(-1)


def loss(stack: Stack, x: Inputs, warm: float, dead: Bool[Tensor, "n latent"]) -> Terms:
    pre = stack.pre(x)
    codes = keep_largest(pre.relu(), stack.strength)
    found = stack.decode(codes)
    total = squared_error(x, found)
    if bool(dead.any()):
        total = total + AUXILIARY * dead_latents_loss(stack, x, pre, found, dead)
    return Terms(total, codes)


KIND = Kind(encode, loss, counts=True)
