"""ReLU codes under an L1 penalty (Bricken et al. 2023): |x - x^|^2 + lambda sum_i f_i |D_i|."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from zscope.studies.components.dictionaries.stack import Codes, Inputs, Stack, squared_error
from zscope.studies.components.dictionaries.variants.kind import Kind, Terms


def encode(stack: Stack, x: Inputs) -> Codes:
    return stack.pre(x).relu()


def loss(stack: Stack, x: Inputs, warm: float, dead: Bool[Tensor, "n latent"]) -> Terms:
    codes = encode(stack, x)
    # |D_i| is 1: decoder rows are unit vectors.
    penalty = warm * stack.strength * codes.sum(-1).mean(-1)
    return Terms(squared_error(x, stack.decode(codes)) + penalty, codes)


KIND = Kind(encode, loss)
