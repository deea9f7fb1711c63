"""Matrices as sums of rank-one components, and the network that says which are needed where.

W = sum_c U_c V_c^T + Delta for every matrix (stochastic parameter decomposition: Bushnaq et al.
2025; one importance network for all matrices: Bushnaq et al. 2026).
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zscope.models.tensor_transformer import rms_normalise
from zscope.studies.components.decomposition.targets import Apply, Clean, Target

LEAK = 0.01
Masks = Float[Tensor, "*at matrix component"]


class _Importance(torch.autograd.Function):
    """min(max(h, 0), 1); below 0 a hundredth of the gradient, only where it asks for more.

    Without the leak a component that is never called would never come back; with it in both
    directions, those that nothing needs would drift away.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return h.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        inside = ((h > 0) & (h < 1)).to(grad)
        return grad * inside + LEAK * grad * ((h <= 0) & (grad < 0)).to(grad)


def importance_in_masks(h: Tensor) -> Tensor:
    """g as masks use it: between 0 and 1, with a leak upwards below 0."""
    return _Importance.apply(h)


def importance_in_penalty(h: Tensor) -> Tensor:
    """g as the penalty sees it: at least 0, and above 1 with a slope of a hundredth, so that what
    is far above 1 can come down."""
    return torch.where(h > 1, 1 + LEAK * (h - 1), h.clamp(min=0))


class Decomposition(nn.Module):
    """Components of every matrix of a target, and their importance network.

    V[i] and U[i] are those of group i. Of the importances h, those between 0 and 1 are g itself.

    Args:
        n: components of a matrix. hidden: units of the importance network.
    """

    def __init__(self, target: Target, n: int, hidden: int, seed: int) -> None:
        super().__init__()
        self.target, self.n = target, n
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).normal_(generator=draw))

        self.V, self.U = nn.ParameterList(), nn.ParameterList()
        for group in target.groups:
            m, out, inside = group.weights.shape
            size = group.weights.square().mean((1, 2)).sqrt()[:, None, None]
            self.V.append(nn.Parameter(normal(m, inside, n).data * inside**-0.5))
            # As large as the matrix: with n terms of this size the sum has its mean square.
            self.U.append(nn.Parameter(normal(m, n, out).data * size * (inside / n) ** 0.5))
        width = sum(group.weights.shape[2] for group in target.groups)
        total = sum(len(group.matrices) for group in target.groups) * n
        self.hidden = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, total)
        with torch.no_grad():
            for layer in (self.hidden, self.out):
                layer.weight.copy_(normal(*layer.weight.shape) * layer.in_features**-0.5)
                layer.bias.zero_()
            self.out.weight.mul_(0.1)
            self.out.bias.fill_(0.5)  # where the sigmoids have a slope

    @property
    def sizes(self) -> list[int]:
        """The number of matrices of each group."""
        return [len(group.matrices) for group in self.target.groups]

    @property
    def matrices(self) -> list[str]:
        """The names of all matrices, in the order of the importances."""
        return [name for group in self.target.groups for name in group.matrices]

    def sums(self) -> list[Float[Tensor, "matrix out in"]]:
        """sum_c U_c V_c^T of every matrix."""
        return [(V @ U).mT for V, U in zip(self.V, self.U, strict=True)]

    def deltas(self) -> list[Float[Tensor, "matrix out in"]]:
        """What the components leave over of every matrix."""
        pairs = zip(self.target.groups, self.sums(), strict=True)
        return [group.weights - total for group, total in pairs]

    def importances(self, clean: Clean) -> Float[Tensor, "*at matrices component"]:
        """h of every component of every matrix, from all that the matrices read."""
        read = torch.cat([rms_normalise(x) for x in clean.reads], -1)
        h = self.out(nn.functional.gelu(self.hidden(read)))
        return h.unflatten(-1, (-1, self.n))

    def masked(
        self,
        masks: Sequence[Float[Tensor, "*#at matrix component"]],
        of_delta: Sequence[Float[Tensor, "*#at matrix"] | None],
        deltas: Sequence[Float[Tensor, "matrix out in"]],
    ) -> Apply:
        """Every group with its components times `masks` and Delta times `of_delta` (None: 0)."""

        def apply(i: int, x: Tensor) -> Tensor:
            V, U = self.V[i], self.U[i]
            m, inside, n = V.shape
            # One product with all matrices side by side, then each with its own rows.
            inner = (x @ V.transpose(0, 1).reshape(inside, m * n)).unflatten(-1, (m, n))
            y = _by_matrix(inner * masks[i], U)
            u = of_delta[i]
            if u is None:
                return y
            left = x @ deltas[i].flatten(0, 1).mT
            return y + left.unflatten(-1, (m, -1)) * u[..., None]

        return apply

    def split(self, of_all: Float[Tensor, "*at matrices ..."]) -> list[Tensor]:
        """Values of all matrices [*at, matrices, component], by group."""
        return list(of_all.split(self.sizes, -2))


def _by_matrix(
    inner: Float[Tensor, "*at matrix component"], U: Float[Tensor, "matrix component out"]
) -> Float[Tensor, "*at matrix out"]:
    if len(U) == 1:
        return inner @ U[0]
    at = inner.shape[:-2]
    return torch.bmm(inner.flatten(0, -3).transpose(0, 1), U).transpose(0, 1).unflatten(0, at)
