"""Inputs of dictionaries on one scale: x <- (x - mean) sqrt(d / E|x - mean|^2).

A penalty, a bandwidth and a learning rate then mean the same at every site.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Normaliser:
    """The mean and the scale of a site's activations."""

    mean: Float[Tensor, " d"]
    scale: float

    @classmethod
    def of(cls, x: Float[Tensor, "n d"]) -> Normaliser:
        """Of inputs. Raises ValueError if they do not vary."""
        mean = x.mean(0)
        size = float((x - mean).square().sum(-1).mean())
        if not size > 0:
            raise ValueError("inputs that do not vary have no scale")
        return cls(mean, (x.shape[-1] / size) ** 0.5)

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return (x - self.mean) * self.scale

    def back(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return x / self.scale + self.mean
