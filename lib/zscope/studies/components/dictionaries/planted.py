"""Planted superposition: inputs that are sparse sums of known directions.

    x = sum_i a_i D_i + noise,   a_i = s_i u_i,   s_i in {0, 1},   u_i uniform on [0.5, 1.5]

m directions in d dimensions. What a dictionary should find is D, and s.
"""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.studies.components.dictionaries.stack import random_rows

CHILD = 0.5
"""How often a child is active where its parent is."""


@dataclass(frozen=True)
class PlantedSettings:
    """What is planted.

    Attributes:
        ratio: directions per dimension, m / d.
        d: dimensions.
        active: mean number of active directions of an input.
        correlated: whether half of the directions are children, active only with their parent.
        zipf: exponent of the rates by rank; 0: all directions are equally frequent.
        noise: Gaussian noise, as a share of the total variance.
    """

    ratio: int
    d: int
    active: float
    correlated: bool = False
    zipf: float = 0.0
    noise: float = 0.0

    @property
    def m(self) -> int:
        return self.ratio * self.d

    def rates(self) -> Float[Tensor, " m"]:
        """How often each direction is active.

        A child has CHILD times the rate of its parent. The sum is `active`, unless the commonest
        would be active in more than half of the inputs.
        """
        n = self.m // 2 if self.correlated else self.m
        weights = torch.arange(1, n + 1, dtype=torch.float64) ** -self.zipf
        total = self.active / (1 + CHILD) if self.correlated else self.active
        rates = (total * weights / weights.sum()).clamp(max=0.5).float()
        return torch.cat([rates, CHILD * rates]) if self.correlated else rates


@dataclass(frozen=True, eq=False)
class Planted:
    """One truth: directions, from the seed named "planted truth", and inputs made of them."""

    settings: PlantedSettings
    seed: int
    D: Float[Tensor, "m d"]

    @classmethod
    def of(cls, settings: PlantedSettings, seed: int) -> Planted:
        rows = random_rows(settings.m, settings.d, derive_seed(seed, "planted truth"))
        return cls(settings, seed, rows)

    def draw(self, n: int, name: str) -> tuple[Float[Tensor, "n d"], Bool[Tensor, "n m"]]:
        """n inputs, and which directions are active in each, from the seed of this name."""
        s = self.settings
        generator = torch.Generator().manual_seed(derive_seed(self.seed, name))
        rates = s.rates()
        present = torch.rand(n, s.m, generator=generator)
        if s.correlated:
            parents = present[:, : s.m // 2] < rates[: s.m // 2]
            active = torch.cat([parents, parents & (present[:, s.m // 2 :] < CHILD)], 1)
        else:
            active = present < rates
        sizes = 0.5 + torch.rand(n, s.m, generator=generator)
        x = (active * sizes) @ self.D
        if s.noise:
            variance = float(x.var(0).sum()) * s.noise / (1 - s.noise)
            x = x + (variance / s.d) ** 0.5 * torch.randn(n, s.d, generator=generator)
        return x, active
