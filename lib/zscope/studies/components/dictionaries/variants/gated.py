"""Gate and magnitude share an encoder, the L1 penalty is on the gate (Rajamanoharan et al. 2024a).

pi = (x - b_dec) W_enc + b_enc          gate: pi > 0
m  = relu(((x - b_dec) W_enc) e^r + b)  magnitude
f  = [pi > 0] m

|x - x^(f)|^2 + lambda sum relu(pi) + |x - x^(relu(pi))|^2 through a frozen decoder
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from zscope.studies.components.dictionaries.stack import Codes, Inputs, Stack, squared_error
from zscope.studies.components.dictionaries.variants.kind import Kind, Terms

RESCALE, MAGNITUDE = "r_mag", "b_mag"


def _parts(stack: Stack, x: Inputs) -> tuple[Codes, Codes]:
    """pi, and the codes."""
    read = torch.bmm(x - stack.b_dec[:, None], stack.W_enc)
    gate = read + stack.b_enc[:, None]
    size = torch.addcmul(stack.own[MAGNITUDE][:, None], read, stack.own[RESCALE].exp()[:, None])
    return gate, size.relu() * (gate > 0)


def encode(stack: Stack, x: Inputs) -> Codes:
    return _parts(stack, x)[1]


def loss(stack: Stack, x: Inputs, warm: float, dead: Bool[Tensor, "n latent"]) -> Terms:
    gate, codes = _parts(stack, x)
    open_ = gate.relu()
    frozen = torch.baddbmm(stack.b_dec.detach()[:, None], open_, stack.W_dec.detach())
    penalty = warm * stack.strength * open_.sum(-1).mean(-1)
    total = squared_error(x, stack.decode(codes)) + penalty + squared_error(x, frozen)
    return Terms(total, codes)


KIND = Kind(encode, loss, own={RESCALE: 0.0, MAGNITUDE: 0.0})
