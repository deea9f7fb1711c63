"""Effective ranks of spectra, by four definitions, and what Gaussian weights would give.

Singular values s >= 0 lie on the last axis; every rank is between 1 and their number and does not
depend on their scale.

    entropy        exp(H(s / sum s))            Roy and Vetterli 2007; the protocol's definition
    energy         exp(H(s^2 / sum s^2))
    participation  (sum s^2)^2 / sum s^4
    stable         sum s^2 / max s^2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.attention_kernels import KINDS, AttentionWeights, Kind


def entropy_rank(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """exp of the entropy of the singular values, scaled to sum to 1."""
    s = s.double()
    return torch.special.entr(s / s.sum(-1, keepdim=True)).sum(-1).exp()


def energy_rank(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """exp of the entropy of the squared singular values, scaled to sum to 1."""
    return entropy_rank(s.double().square())


def participation_ratio(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """(sum s^2)^2 / sum s^4."""
    energy = s.double().square()
    return energy.sum(-1).square() / energy.square().sum(-1)


def stable_rank(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """Squared Frobenius norm over squared spectral norm."""
    energy = s.double().square()
    return energy.sum(-1) / energy.amax(-1)


MATRICES: dict[Kind, tuple[str, str]] = {
    "qk": ("W_q", "W_k"),
    "kq": ("W_q", "W_k"),
    "ov": ("W_v", "W_o"),
}
"""What the kernels are products of."""

RANKS: dict[str, Callable[[Tensor], Tensor]] = {
    "entropy": entropy_rank,
    "energy": energy_rank,
    "participation": participation_ratio,
    "stable": stable_rank,
}


def effective_ranks(s: Float[Tensor, "*n r"]) -> dict[str, Float[Tensor, "*n"]]:
    """Every rank of RANKS by its name. Raises DataError if a spectrum is zero or not finite."""
    if not bool(torch.isfinite(s).all() and (s >= 0).all() and (s.amax(-1) > 0).all()):
        raise DataError("an effective rank needs finite singular values that are not all 0")
    return {name: rank(s) for name, rank in RANKS.items()}


def coefficient_of_variation(values: Float[Tensor, "*n heads"]) -> Float[Tensor, "*n"]:
    """Standard deviation (divided by the number of heads: they are all there) over mean."""
    values = values.double()
    return values.std(-1, correction=0) / values.mean(-1)


def gaussian_weights(
    weights: AttentionWeights, generator: torch.Generator, kinds: Sequence[Kind] = KINDS
) -> AttentionWeights:
    """Standard normal matrices of the same shapes, in float32, with the layer's own gain.

    Those that no kernel of `kinds` has stay as they are: of a large model, drawing takes most time.
    In float32 it takes a fifth of that in float64, and a rank differs by less than 1e-6 of itself
    from that of normals that are not rounded.
    """
    names = ("W_q", "W_k", "W_v", "W_o")
    drawn = [name for name in names if any(name in MATRICES[kind] for kind in kinds)]
    shapes = {name: getattr(weights, name).shape for name in drawn}

    def draw(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=generator)

    return replace(weights, **{name: draw(shape) for name, shape in shapes.items()})
