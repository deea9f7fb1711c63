"""What is decomposed: matrices in groups that read the same input, and the pass through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from zscope.models.tensor_transformer import TensorBlock, TensorConfig, TensorTransformer

Apply: TypeAlias = Callable[[int, Float[Tensor, "*at in"]], Float[Tensor, "*at matrix out"]]
"""What stands for the matrices of a group, given its number and its input."""


@dataclass(frozen=True, eq=False)
class Group:
    """Matrices of one shape that read the same input.

    Attributes:
        matrices: their names, unique over all groups.
    """

    matrices: tuple[str, ...]
    weights: Float[Tensor, "matrix out in"]

    def __call__(self, x: Float[Tensor, "*at in"]) -> Float[Tensor, "*at matrix out"]:
        """The exact outputs."""
        return torch.einsum("...i,moi->...mo", x, self.weights)


class Target(Protocol):
    """A frozen model whose matrices are decomposed."""

    @property
    def groups(self) -> tuple[Group, ...]: ...

    def run(self, inputs: Tensor, apply: Apply) -> Float[Tensor, "*at out"]:
        """The output, with `apply` in the place of every group."""
        ...

    def divergence(
        self, target: Float[Tensor, "*at out"], output: Float[Tensor, "*at out"]
    ) -> Float[Tensor, "*at"]:
        """How far an output is from the target's, at every position; 0 if they are equal."""
        ...


def exact(target: Target) -> Apply:
    """Every group as it is."""
    return lambda i, x: target.groups[i](x)


@dataclass(frozen=True, eq=False)
class Clean:
    """A run of the target as it is: its output, and what each group read."""

    output: Float[Tensor, "*at out"]
    reads: list[Float[Tensor, "*at in"]]


@torch.no_grad()
def clean_run(target: Target, inputs: Tensor) -> Clean:
    reads: dict[int, Tensor] = {}

    def keep(i: int, x: Tensor) -> Tensor:
        reads[i] = x
        return target.groups[i](x)

    output = target.run(inputs, keep)
    return Clean(output, [reads[i] for i in range(len(target.groups))])


def log_divergence(
    target: Float[Tensor, "*at vocab"], output: Float[Tensor, "*at vocab"]
) -> Float[Tensor, "*at"]:
    """KL(softmax of the target || softmax of the output), in nats."""
    log_p, log_q = target.log_softmax(-1), output.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@dataclass(frozen=True, eq=False)
class TransformerTarget:
    """Every q1, k1, q2, k2, v, o of a `TensorTransformer`; matrices are called "0.q1".

    Groups 2l and 2l + 1 are layer l's matrices that read the stream, and its o. Rows of q, k and v
    and the columns of o are heads side by side, as in the model.
    """

    model: TensorTransformer

    @property
    def config(self) -> TensorConfig:
        return self.model.config

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        groups = []
        for layer, block in enumerate(self.model.blocks):
            names = (*self.config.rotated, "v")
            for some in (names, ("o",)):
                weights = [getattr(block.attn, n).weight.detach() for n in some]
                groups.append(Group(tuple(f"{layer}.{n}" for n in some), torch.stack(weights)))
        return tuple(groups)

    def project(
        self, block: TensorBlock, y: Float[Tensor, "batch seq matrix width"]
    ) -> Float[Tensor, "batch seq projected"]:
        """Queries, keys and values in the layout of `TensorAttention.project`."""
        c = self.config
        n = len(c.rotated)
        pairs = y[..., :n, :].unflatten(-1, (c.n_heads, 2, c.d_head // 2)).transpose(-1, -2)
        turned = pairs.flatten(-3)
        if c.attention == "bilinear":
            first = turned[..., :1, :] / c.d_head**2
            turned = torch.cat([first, turned[..., 1:, :]], -2)
        return torch.cat([turned, y[..., n:, :]], -2).flatten(-2)

    def run(
        self, inputs: Int[Tensor, "batch seq"], apply: Apply
    ) -> Float[Tensor, "batch seq vocab"]:
        x = F.embedding(inputs, self.model.tok_embed.weight)
        for layer, block in enumerate(self.model.blocks):
            y = apply(2 * layer, block.read(x))
            z = block.attn.z(self.project(block, y))
            x = block.update(x, apply(2 * layer + 1, z).squeeze(-2))
        return self.model.unembed(x)

    def divergence(
        self, target: Float[Tensor, "batch seq vocab"], output: Float[Tensor, "batch seq vocab"]
    ) -> Float[Tensor, "batch seq"]:
        return log_divergence(target, output)
