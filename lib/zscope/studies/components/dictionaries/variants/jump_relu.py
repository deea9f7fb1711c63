"""Codes above a learned threshold of each latent (JumpReLU; Rajamanoharan et al. 2024b).

    f = p [p > theta],  theta >= 0

A step has no gradient in theta, so the backward pass takes that of the loss smoothed by a
rectangle of width w around the threshold; p gets it too. theta is stored as it is: Adam would move
its logarithm by theta times the learning rate a step, that is hardly at all. The width is 1, about
the mean size of an element of a normalised input: narrower ones see too few inputs.

Two penalties: lambda sum tanh(c f) (Conerly et al. 2025), and lambda times the number of codes.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.studies.components.dictionaries.stack import Codes, Inputs, Stack, squared_error
from zscope.studies.components.dictionaries.variants.kind import Kind, Terms

THETA = "theta"
START = 0.1
WIDTH = 1.0
TANH_SCALE = 4.0


class Jump(torch.autograd.Function):
    """p [p > theta]; d/dtheta is -theta/w and d/dp has +theta/w inside the rectangle."""

    @staticmethod
    def forward(
        ctx: Any, p: Codes, theta: Float[Tensor, "n 1 latent"], width: float = WIDTH
    ) -> Codes:
        ctx.save_for_backward(p, theta)
        ctx.width = width
        return p * (p > theta)

    @staticmethod
    def backward(ctx: Any, grad: Codes) -> tuple[Codes, Float[Tensor, "n 1 latent"], None]:
        p, theta = ctx.saved_tensors
        near = grad * ((p - theta).abs() < ctx.width / 2) * (theta / ctx.width)
        return torch.addcmul(near, grad, (p > theta).to(grad.dtype)), -near.sum(1, True), None


class Count(torch.autograd.Function):
    """[p > theta]; d/dtheta is -1/w and d/dp is +1/w inside the rectangle."""

    @staticmethod
    def forward(
        ctx: Any, p: Codes, theta: Float[Tensor, "n 1 latent"], width: float = WIDTH
    ) -> Codes:
        ctx.save_for_backward(p, theta)
        ctx.width = width
        return (p > theta).to(p.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Codes) -> tuple[Codes, Float[Tensor, "n 1 latent"], None]:
        p, theta = ctx.saved_tensors
        near = grad * ((p - theta).abs() < ctx.width / 2) / ctx.width
        return near, -near.sum(1, True), None


def encode(stack: Stack, x: Inputs) -> Codes:
    p = stack.pre(x)
    return p * (p > stack.own[THETA][:, None])


def tanh_loss(stack: Stack, x: Inputs, warm: float, dead: Bool[Tensor, "n latent"]) -> Terms:
    codes: Codes = Jump.apply(stack.pre(x), stack.own[THETA][:, None])
    penalty = warm * stack.strength * torch.tanh(TANH_SCALE * codes).sum(-1).mean(-1)
    return Terms(squared_error(x, stack.decode(codes)) + penalty, codes)


def count_loss(stack: Stack, x: Inputs, warm: float, dead: Bool[Tensor, "n latent"]) -> Terms:
    p, theta = stack.pre(x), stack.own[THETA][:, None]
    codes: Codes = Jump.apply(p, theta)
    penalty = warm * stack.strength * Count.apply(p, theta).sum(-1).mean(-1)
    return Terms(squared_error(x, stack.decode(codes)) + penalty, codes)


TANH = Kind(encode, tanh_loss, own={THETA: START}, nonnegative=(THETA,))
COUNT = Kind(encode, count_loss, own={THETA: START}, nonnegative=(THETA,))
