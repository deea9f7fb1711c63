"""Patching a tensor transformer at every strength at once: logits are a polynomial in it.

A bilinear layer without norms is a sum of products of five factors, q1, q2 at the query and k1, k2,
v at a key, each linear in the stream. If the stream at position p is a polynomial in t of degree
d_p, then after the layer its degree at p is at most

    max(d_p, 2 d_p + 3 max_(j <= p) d_j)

Adding t v to the stream at one position before the last layer gives degree 5 there, where the
queries and a key change, and 3 at later positions, where only a key changes. After the last layer
it gives 1, before the first of two layers 25 and 21. A polynomial of degree n is known from n + 1
evaluations, here at Chebyshev nodes in [-1, 1], where interpolation is well conditioned (Trefethen
2013, Approximation Theory and Approximation Practice, ch. 2-5).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.polynomial import chebyshev
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer


def patch_degrees(n_layers: int, layer: int, patched: Sequence[bool]) -> list[int]:
    """Degree in t of the logits at each position; t v is added to the stream where `patched`.

    layer: the patch is before this layer (n_layers: after the last).
    """
    degrees = [int(here) for here in patched]
    for _ in range(layer, n_layers):
        highest = 0
        after = []
        for degree in degrees:
            highest = max(highest, degree)
            after.append(max(degree, 2 * degree + 3 * highest))
        degrees = after
    return degrees


@dataclass(frozen=True, eq=False)
class PatchPolynomial:
    """Logits as a function of a patch's strength t: 0 is the clean run, 1 the patched one.

    Exact for every t in [-1, 1]; outside, rounding grows as (|t| + sqrt(t^2 - 1))^degree.

    Attributes:
        coefficients: of the Chebyshev polynomials T_0 ... T_degree.
    """

    coefficients: Float[np.ndarray, "degree+1 batch position vocab"]

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1

    def at(self, t: float) -> Float[np.ndarray, "batch position vocab"]:
        """Logits at strength t."""
        return np.asarray(chebyshev.chebval(t, self.coefficients))

    def effect(self, t: float = 1.0) -> Float[np.ndarray, "batch position vocab"]:
        """Change of the logits at strength t."""
        return self.at(t) - self.at(0.0)

    def derivative(self, t: float, order: int = 1) -> Float[np.ndarray, "batch position vocab"]:
        """Derivative of the logits in t; order 1 at t = 0 is attribution patching, exactly."""
        if order > self.degree:
            return np.zeros_like(self.coefficients[0])
        return np.asarray(chebyshev.chebval(t, chebyshev.chebder(self.coefficients, order)))

    def by_degree(self) -> Float[np.ndarray, "degree+1 batch position vocab"]:
        """Coefficients of 1, t, t^2, ...: the clean logits, and the effect at t = 1 by degree.

        Multiplies the rounding of the logits by (1 + sqrt 2)^degree: 80 for degree 5, 4e9 for 25.
        """
        n = self.degree + 1
        monomials = np.zeros((n, n))
        for i in range(n):
            monomials[: i + 1, i] = chebyshev.cheb2poly(np.eye(n)[i, : i + 1])
        return np.tensordot(monomials, self.coefficients, axes=1)


def patch_polynomial(
    model: TensorTransformer,
    tokens: Int[Tensor, "batch seq"],
    layer: int,
    direction: Float[Tensor, "batch seq d"],
    read: Sequence[int],
) -> PatchPolynomial:
    """Logits at positions `read` when t `direction` is added to the stream before `layer`.

    Runs the layers after the patch degree + 1 times, in float64 on the CPU. The stream before layer
    0 is the embedding; a patch of a head of layer l is a patch before l + 1 (`head_direction`).

    Raises:
        DataError: the model is not polynomial, or shapes or positions do not fit the tokens.
    """
    c = model.config
    _check(c, tokens, layer, direction, read)
    exact = deepcopy(model).cpu().double()
    with torch.no_grad():
        x, v = exact.stream(tokens.cpu(), layer), direction.cpu().double()
        patched = v.ne(0).any(-1).any(0).tolist()
        degrees = patch_degrees(c.n_layers, layer, patched)
        n = 1 + max(degrees[position] for position in read)
        angles = np.pi * (np.arange(n) + 0.5) / n
        values = np.stack(
            [exact.resume(x + t * v, layer)[:, list(read)].numpy() for t in np.cos(angles)]
        )
    # The discrete cosine transform: T_j(cos angle) = cos(j angle) are orthogonal on the nodes.
    transform = np.cos(np.outer(np.arange(n), angles)) * 2 / n
    transform[0] /= 2
    return PatchPolynomial(np.tensordot(transform, values, axes=1))


def head_direction(
    model: TensorTransformer,
    layer: int,
    head: int,
    change: Float[Tensor, "batch seq d_head"],
) -> Float[Tensor, "batch seq d"]:
    """The direction before `layer` + 1 of a `change` of a head's z."""
    W = model.blocks[layer].attn.weight("o")[head].detach().cpu().double()
    return model.config.written * (change.cpu().double() @ W)


def _check(
    config: TensorConfig, tokens: Tensor, layer: int, direction: Tensor, read: Sequence[int]
) -> None:
    if not config.is_polynomial:
        raise DataError(
            f"attention {config.attention}, rms_norm {config.rms_norm}: exact patching needs "
            "bilinear attention without norms\npatch this model strength by strength instead"
        )
    if not 0 <= layer <= config.n_layers:
        raise DataError(f"layer {layer}: a patch is before layer 0 ... {config.n_layers}")
    if direction.shape != (*tokens.shape, config.d_model):
        raise DataError(
            f"direction {tuple(direction.shape)}: must have a vector at every position, "
            f"{(*tokens.shape, config.d_model)}, zero where nothing is patched"
        )
    seq = tokens.shape[1]
    if not read or not all(0 <= position < seq for position in read):
        raise DataError(f"read {list(read)}: name positions in 0 ... {seq - 1}")
