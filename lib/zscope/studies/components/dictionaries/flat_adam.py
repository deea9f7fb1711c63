"""Adam (Kingma and Ba 2015) on one vector that holds all parameters.

Dictionaries are small: most of a step of torch's own optimizers goes into calls, and their first
use imports torch's compiler, which takes three seconds. Here a step is four calls.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

BETAS = (0.9, 0.999)
EPS = 1e-8


class FlatAdam:
    """Copies of the parameters, as views of one vector, with their gradients."""

    def __init__(self, parameters: Mapping[str, Float[Tensor, "*shape"]]) -> None:
        sizes = [t.numel() for t in parameters.values()]
        self._flat = torch.cat([t.detach().flatten() for t in parameters.values()])
        self._grad = torch.zeros_like(self._flat)
        self._first, self._second = torch.zeros_like(self._flat), torch.zeros_like(self._flat)
        self._steps = 0
        self.parameters: dict[str, Tensor] = {}
        values, grads = self._flat.split(sizes), self._grad.split(sizes)
        for (name, t), value, grad in zip(parameters.items(), values, grads, strict=True):
            view = value.view(t.shape).requires_grad_()
            view.grad = grad.view(t.shape)
            self.parameters[name] = view

    def zero_grad(self) -> None:
        self._grad.zero_()

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self._steps += 1
        a, b = BETAS
        self._first.lerp_(self._grad, 1 - a)
        self._second.mul_(b).addcmul_(self._grad, self._grad, value=1 - b)
        # Both moments' corrections for their start at 0, moved into two numbers.
        corrected = (1 - b**self._steps) ** 0.5
        below = self._second.sqrt().add_(EPS * corrected)
        self._flat.addcdiv_(self._first, below, value=-lr * corrected / (1 - a**self._steps))
