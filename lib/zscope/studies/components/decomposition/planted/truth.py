"""Planted components, and how well a decomposition finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from zscope.studies.components.decomposition.targets import Group, Target


@dataclass(frozen=True, eq=False)
class Term:
    """Rank-one terms of a matrix: sum_i writes_i reads_i^T is all of it."""

    reads: Float[Tensor, "n in"]
    writes: Float[Tensor, "n out"]

    @property
    def matrix(self) -> Float[Tensor, "out in"]:
        return self.writes.mT @ self.reads


@dataclass(frozen=True, eq=False)
class Planted:
    """A target, its true terms by matrix, and its inputs.

    Attributes:
        inputs: draws so many inputs.
        active: how many terms an input needs, over all matrices, on average; NaN if not known.
    """

    target: Target
    truth: Mapping[str, Term]
    inputs: Callable[[int, torch.Generator], Tensor]
    active: float


@dataclass(frozen=True, eq=False)
class LinearTarget:
    """y = W x; the divergence is the squared error, summed over outputs."""

    weights: Float[Tensor, "out in"]

    @property
    def groups(self) -> tuple[Group, ...]:
        return (Group(("W",), self.weights[None]),)

    def run(self, inputs: Tensor, apply: Callable[[int, Tensor], Tensor]) -> Tensor:
        return apply(0, inputs).squeeze(-2)

    def divergence(self, target: Tensor, output: Tensor) -> Tensor:
        return (target - output).square().sum(-1)


@dataclass(frozen=True, eq=False)
class SuperposedTarget:
    """y = relu(W2 W1 x + b), the toy model of superposition (Elhage et al. 2022)."""

    down: Float[Tensor, "hidden features"]
    up: Float[Tensor, "features hidden"]
    bias: Float[Tensor, " features"]

    @property
    def groups(self) -> tuple[Group, ...]:
        return (Group(("W1",), self.down[None]), Group(("W2",), self.up[None]))

    def run(self, inputs: Tensor, apply: Callable[[int, Tensor], Tensor]) -> Tensor:
        hidden = apply(0, inputs).squeeze(-2)
        return F.relu(apply(1, hidden).squeeze(-2) + self.bias)

    def divergence(self, target: Tensor, output: Tensor) -> Tensor:
        return (target - output).square().sum(-1)


@dataclass(frozen=True)
class Match:
    """How well vectors match the true ones.

    Attributes:
        read, write, both: mean over true terms of the best |cosine| of what is read, of writes, and
            the product of the two, each with its own best component. What is read is the activation
            over the inputs: directions that no input has tell nothing of a component.
        distinct: share of the true terms whose best component by `both` is no other term's.
    """

    read: float
    write: float
    both: float
    distinct: float


def cosines(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """|cosine| of every pair of rows; 0 for a row of zeros."""
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (a, b)]
    return np.abs(unit[0] @ unit[1].T)


def root_of_moments(x: Float[Tensor, "*at in"]) -> Float[np.ndarray, "in in"]:
    """The symmetric square root of E[x x^T]: |root v| is the root mean square of v . x."""
    flat = x.flatten(0, -2).double()
    values, vectors = np.linalg.eigh((flat.mT @ flat / len(flat)).numpy())
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def match(
    truth: Term,
    reads: Float[np.ndarray, "component in"],
    writes: Float[np.ndarray, "component out"],
    root: Float[np.ndarray, "in in"],
) -> Match:
    """How well components, one per row, match the true terms; root: of the inputs' moments."""
    if len(reads) == 0:
        return Match(0.0, 0.0, 0.0, 0.0)
    read = cosines(truth.reads.double().numpy() @ root, reads @ root)
    write = cosines(truth.writes.double().numpy(), writes)
    both = read * write
    best = both.argmax(1)
    return Match(
        float(read.max(1).mean()),
        float(write.max(1).mean()),
        float(both.max(1).mean()),
        len(set(best.tolist())) / len(best),
    )


def singular(matrix: Float[np.ndarray, "out in"]) -> tuple[np.ndarray, np.ndarray]:
    """The reads and writes of the singular value decomposition, one per row, where it is not 0."""
    u, s, v = np.linalg.svd(matrix)
    kept = s > 1e-6 * s.max()
    rank = int(kept.sum())
    return v[:rank], u[:, :rank].T * s[:rank, None]
