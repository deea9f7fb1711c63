"""Several sparse dictionaries of one shape and kind side by side, as one batched tensor program.

    x    -> pre = (x - b_dec) W_enc + b_enc       of every latent
    pre  -> codes f >= 0                          as the variant says
    x^   = f W_dec + b_dec                        decoder rows have norm 1

Inputs are normalised (`normalise.py`), so that a penalty or a bandwidth means the same at every
site. A dictionary of a stack learns as it would alone: losses are added over the stack, and Adam
treats every number by itself.
"""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.core.provenance import derive_seed

Inputs: TypeAlias = Float[Tensor, "n batch d"]
Codes: TypeAlias = Float[Tensor, "n batch latent"]
MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")
"""The parameters that every variant has."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Dictionaries, the first axis of every tensor.

    Attributes:
        strength: of each: the weight of its penalty, or k for the TopK kin.
        own: further parameters of the variant, each [n, latent].
        cut: threshold at test time of BatchTopK, a running mean over batches; NaN before training
            and for other variants.
    """

    W_enc: Float[Tensor, "n d latent"]
    b_enc: Float[Tensor, "n latent"]
    W_dec: Float[Tensor, "n latent d"]
    b_dec: Float[Tensor, "n d"]
    strength: Float[Tensor, " n"]
    own: Mapping[str, Float[Tensor, "n latent"]]
    cut: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.strength)

    def pre(self, x: Inputs) -> Codes:
        """What every latent reads, before its nonlinearity."""
        return torch.baddbmm(self.b_enc[:, None], x - self.b_dec[:, None], self.W_enc)

    def decode(self, codes: Codes) -> Inputs:
        return torch.baddbmm(self.b_dec[:, None], codes, self.W_dec)

    def take(self, which: Sequence[int]) -> Stack:
        """Some of the dictionaries."""
        at = torch.tensor(list(which))
        return replace(
            self,
            **{
                name: getattr(self, name)[at]
                for name in ("W_enc", "b_enc", "W_dec", "b_dec", "strength", "cut")
            },
            own={name: t[at] for name, t in self.own.items()},
        )


def random_rows(n: int, d: int, seed: int) -> Float[Tensor, "n d"]:
    """Unit vectors in random directions."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator)
    return rows / rows.norm(dim=-1, keepdim=True)


def initial_stack(
    d: int,
    n_latents: int,
    strengths: Sequence[float],
    seeds: Sequence[int],
    own: Mapping[str, float],
) -> Stack:
    """Untrained dictionaries: random unit decoder rows, the encoder their transpose, no biases.

    seeds: of each dictionary; the rows come from the seed named "dictionary", which no data share.
    own: further parameters, with the value that they start from.
    """
    rows = torch.stack([random_rows(n_latents, d, derive_seed(s, "dictionary")) for s in seeds])
    n = len(rows)
    return Stack(
        W_enc=rows.mT.contiguous(),
        b_enc=torch.zeros(n, n_latents),
        W_dec=rows,
        b_dec=torch.zeros(n, d),
        strength=torch.tensor([float(s) for s in strengths]),
        own={name: torch.full((n, n_latents), value) for name, value in own.items()},
        cut=torch.full((n,), float("nan")),
    )


@torch.no_grad()
def project_gradient_(stack: Stack) -> None:
    """Take from the gradient of each decoder row what would change its norm."""
    grad = stack.W_dec.grad
    assert grad is not None
    along = (grad * stack.W_dec).sum(-1, keepdim=True)
    grad.addcmul_(along, stack.W_dec, value=-1)


@torch.no_grad()
def renormalise_(stack: Stack) -> None:
    """Scale decoder rows to norm 1."""
    stack.W_dec.div_(stack.W_dec.norm(dim=-1, keepdim=True).clamp(min=1e-8))


def squared_error(x: Inputs, found: Inputs) -> Float[Tensor, " n"]:
    """Mean over the batch of |x - x^|^2."""
    return (x - found).square().sum(-1).mean(-1)


def ever(codes: Codes) -> Bool[Tensor, "n latent"]:
    """Latents that fire in the batch."""
    return (codes.detach() > 0).any(1)
