"""Masks of components: random ones, those of the importances, and the kinds that are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.components.decomposition.rank_one import Decomposition
from zscope.studies.components.decomposition.targets import Apply

KINDS = ("unmasked", "random", "importance", "rounded_0", "rounded_0.1", "none")
"""All components without Delta; m = g + (1 - g) u; m = g; m = [g > 0]; m = [g > .1]; nothing."""


@dataclass(frozen=True, eq=False)
class Masked:
    """m of every component and of every Delta; broadcasts over positions."""

    components: Float[Tensor, "*#at matrices component"]
    deltas: Float[Tensor, "*#at matrices"] | None

    def apply(self, decomposition: Decomposition) -> Apply:
        sizes = decomposition.sizes
        of_delta: list[Tensor | None] = [None] * len(sizes)
        if self.deltas is not None:
            of_delta = list(self.deltas.split(sizes, -1))
        left = decomposition.deltas()
        return decomposition.masked(decomposition.split(self.components), of_delta, left)


def between(g: Tensor, share: Tensor) -> Tensor:
    """g + (1 - g) u: what is unimportant may be there in any amount."""
    return g + (1 - g) * share


def random_masks(
    g: Float[Tensor, "*at matrices component"], draw: torch.Generator, *, subset: bool
) -> Masked:
    """Masks drawn anew at every position, and for every Delta.

    subset: mask at each position only as many matrices as a uniform draw from 1 to all says; the
    others are exact.
    """
    *at, matrices, _ = g.shape
    m = between(g, torch.rand(g.shape, generator=draw, dtype=g.dtype))
    u = torch.rand(*at, matrices, generator=draw, dtype=g.dtype)
    if subset:
        size = torch.randint(1, matrices + 1, (*at, 1), generator=draw)
        ranks = torch.rand(*at, matrices, generator=draw).argsort(-1).argsort(-1)
        masked = ranks < size
        m = torch.where(masked[..., None], m, 1.0)
        u = torch.where(masked, u, 1.0)
    return Masked(m, u)


def fixed_masks(kind: str, g: Float[Tensor, "*at matrices component"]) -> Masked:
    """Masks without Delta that no draw is needed for."""
    made = {
        "unmasked": torch.ones_like(g),
        "importance": g,
        "rounded_0": (g > 0).to(g),
        "rounded_0.1": (g > 0.1).to(g),
        "none": torch.zeros_like(g),
    }
    return Masked(made[kind], None)


def everything(g: Float[Tensor, "*at matrices component"]) -> Masked:
    """All components and Delta: the target itself."""
    return Masked(torch.ones_like(g), torch.ones_like(g[..., 0]))
