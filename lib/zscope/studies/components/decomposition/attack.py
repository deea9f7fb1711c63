"""The worst masks: what an adversary finds who may ablate what is called unimportant.

One share of every component, and of every Delta, for all positions and sequences together: masks
that are chosen per position could find a bad position, masks that are shared have to be bad
everywhere (Bushnaq et al. 2026).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.components.decomposition.masks import Masked, between


@dataclass(frozen=True, eq=False)
class Shares:
    """u of every component and of every Delta, between 0 and 1."""

    components: Float[Tensor, "matrices component"]
    deltas: Float[Tensor, " matrices"]

    def masks(self, g: Float[Tensor, "*at matrices component"]) -> Masked:
        return Masked(between(g, self.components), self.deltas)


def random_shares(matrices: int, n: int, draw: torch.Generator) -> Shares:
    return Shares(torch.rand(matrices, n, generator=draw), torch.rand(matrices, generator=draw))


def attack(
    start: Shares,
    damage: Callable[[Shares], Float[Tensor, ""]],
    *,
    steps: int,
    size: float,
    visit: Callable[[int, Shares], None] | None = None,
) -> Shares:
    """Sign ascent of `damage` (Madry et al. 2018) in the box from 0 to 1.

    visit: called with the number of steps done, before the first and after each.
    """
    shares = start
    if visit:
        visit(0, shares)
    for step in range(steps):
        free = Shares(
            shares.components.detach().requires_grad_(), shares.deltas.detach().requires_grad_()
        )
        with torch.enable_grad():
            grads = torch.autograd.grad(damage(free), [free.components, free.deltas])
        moved = [
            (x.detach() + size * grad.sign()).clamp(0, 1)
            for x, grad in zip((free.components, free.deltas), grads, strict=True)
        ]
        shares = Shares(*moved)
        if visit:
            visit(step + 1, shares)
    return shares
