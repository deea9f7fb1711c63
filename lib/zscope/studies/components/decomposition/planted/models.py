"""The planted targets: a linear map, a toy model of superposition, a compiled transformer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.studies.components.decomposition.planted.compiled import compiled_transformer
from zscope.studies.components.decomposition.planted.truth import (
    LinearTarget,
    Planted,
    SuperposedTarget,
    Term,
)

FEATURES, DIMENSIONS = 8, 8
PRESENT = 0.1  # probability of a feature


def linear_map(seed: int) -> Planted:
    """Eight orthonormal reads in eight dimensions, with random writes: the singular vectors are
    others. Inputs are sparse sums of the reads."""
    draw = torch.Generator().manual_seed(derive_seed(seed, "planted linear map"))
    reads = torch.linalg.qr(torch.randn(DIMENSIONS, FEATURES, generator=draw)).Q.mT
    writes = torch.randn(FEATURES, DIMENSIONS, generator=draw)
    writes = writes / writes.norm(dim=1, keepdim=True)
    term = Term(reads, writes)

    def inputs(n: int, draw: torch.Generator) -> Float[Tensor, "n in"]:
        return _sparse(n, FEATURES, draw) @ reads

    return Planted(LinearTarget(term.matrix), {"W": term}, inputs, FEATURES * PRESENT)


def superposition(seed: int) -> Planted:
    """Five features in two dimensions, at the corners of a pentagon: the solution to which such
    models are trained (Elhage et al. 2022), set by hand."""
    angle = derive_seed(seed, "planted superposition") % 1000 / 1000
    turns = 2 * torch.pi * (torch.arange(5) / 5 + angle)
    corners = torch.stack([turns.cos(), turns.sin()], 1)  # feature, hidden
    bias = -0.31 * torch.ones(5)  # cos(72 degrees): what a neighbour would add
    eye = torch.eye(5)

    def inputs(n: int, draw: torch.Generator) -> Float[Tensor, "n in"]:
        return _sparse(n, 5, draw)

    # W1 reads a feature and writes its corner; W2 reads a corner and writes a feature.
    truth = {"W1": Term(eye, corners), "W2": Term(corners, eye)}
    target = SuperposedTarget(corners.mT.contiguous(), corners, bias)
    return Planted(target, truth, inputs, 2 * 5 * PRESENT)


def _sparse(n: int, features: int, draw: torch.Generator) -> Float[Tensor, "n features"]:
    present = torch.rand(n, features, generator=draw) < PRESENT
    return present * torch.rand(n, features, generator=draw)


PLANTED = {
    "linear": linear_map,
    "superposition": superposition,
    "compiled": compiled_transformer,
}
