"""Induction by K-composition, from weights: which pair of heads finds "the colour it had before".

In "object colour ... object" a head of an early layer writes the object into the colour's position
(its key is one token back). A head of a later layer, at the second object, looks for it there and
copies the colour (Elhage et al. 2021, Olsson et al. 2022). Through one such pair alone, the key's
stream vector is

    x(c, b) = c + A0(c, b, 1) b Wv0 Wo0          for colour c that followed object b

and query object a adds to the logit of c, against the other colours,

    M(a, b) = mean_c mean_delta A1(a, x(c, b), delta) [OV1(x -> c) - mean_(c' != c) OV1(x -> c')]

which is a logit and so free of gauge. A diagonal M is induction.

A model may spread induction over several pairs, each for some of the objects. For all heads of two
layers together, x(c, b) is c plus the writes of all heads of the first, and M is summed over the
heads of the second. It then includes cross terms between heads, which no single pair has.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.models.tensor_heads import Head, head_name
from zscope.studies.toylang.readouts.weights import TensorWeights

ENUMERATED = 7  # objects; they have 5040 orders
DRAWN = 4999  # random orders of more objects


@dataclass(frozen=True, eq=False)
class VirtualHead:
    """A head of one layer, whose output a head of a later layer reads as a key.

    Attributes:
        matrix: M, in nats of logit; rows are the query's objects.
        heads: empty for all heads of the two layers together.
    """

    layers: tuple[int, int]
    matrix: Float[Tensor, "object object"]
    heads: tuple[Head, ...] = ()

    @property
    def text(self) -> str:
        """L0H3->L1H1, or L0->L1 for all heads."""
        heads = [head_name(*head) for head in self.heads]
        return "->".join(heads or [f"L{layer}" for layer in self.layers])

    @cached_property
    def contrast(self) -> float:
        """The mean of the diagonal minus the mean of the rest."""
        n, diagonal = len(self.matrix), self.matrix.diagonal()
        rest = (self.matrix.sum() - diagonal.sum()) / (n * (n - 1))
        return float(diagonal.mean() - rest)

    @cached_property
    def matched(self) -> Int[np.ndarray, " object"]:
        """The column of each row's largest entry; -1 where it is not unique."""
        largest = self.matrix == self.matrix.amax(1, keepdim=True)
        column = torch.where(largest.sum(1) == 1, self.matrix.argmax(1), -1)
        return column.numpy()

    @property
    def hits(self) -> int:
        """Rows with a unique largest entry that is on the diagonal."""
        return int((self.matched == np.arange(len(self.matched))).sum())


@dataclass(frozen=True, eq=False)
class MostHits:
    """The pair with the most hits (of equal ones, that with the largest contrast), and its null.

    Attributes:
        p: the chance that some pair has as many hits when every object is to be matched to another
            one's name: the most hits of any pair, over permutations of the columns. The maximum
            over the pairs is taken for every permutation, as it is for the true order.
        permutations: how many there are, or how many were drawn; the true order counts.
    """

    pair: VirtualHead
    p: float
    permutations: int


def most_hits(pairs: Sequence[VirtualHead]) -> MostHits:
    """The pair that matches the most objects to themselves.

    All permutations of up to ENUMERATED objects are taken, else DRAWN random ones and the true
    order, so that p is exact or valid (Phipson and Smyth 2010).
    """
    best = max(pairs, key=lambda pair: (pair.hits, pair.contrast))
    n = len(best.matched)
    if n <= ENUMERATED:
        orders = np.array(list(permutations(range(n))))
    else:
        rng = np.random.default_rng(derive_seed(0, "permutations of objects"))
        orders = np.stack([np.arange(n), *(rng.permutation(n) for _ in range(DRAWN))])
    hits = [(orders == pair.matched).sum(1) for pair in pairs]
    return MostHits(best, float((np.max(hits, axis=0) >= best.hits).mean()), len(orders))


def induction_heads(
    weights: TensorWeights,
    objects: Sequence[int],
    colours: Sequence[int],
    offsets: Sequence[int],
    *,
    together: bool = False,
) -> list[VirtualHead]:
    """Every pair of heads of two layers, the largest contrast first.

    offsets: distances from the query to the colour, over which M is averaged. together: take all
    heads of a layer at once, so that each pair of layers gives one result.

    Raises:
        DataError: fewer than two objects or colours, or no offset.
    """
    if min(len(objects), len(colours)) < 2:
        raise DataError(
            f"{len(objects)} objects, {len(colours)} colours: induction is a choice between at "
            "least two of each"
        )
    found = []
    for layer in range(weights.n_layers):
        keys = _composed_keys(weights, layer, objects, colours)
        if together:
            alone = weights.E[list(colours)][:, None]
            keys = alone + (keys - alone).sum(0, keepdim=True)
        for later in range(layer + 1, weights.n_layers):
            for head, x in enumerate(keys):
                matrices = _matches(weights, later, x, objects, colours, offsets)
                if together:
                    found.append(VirtualHead((layer, later), matrices.sum(0)))
                else:
                    found += [
                        VirtualHead((layer, later), matrix, ((layer, head), (later, later_head)))
                        for later_head, matrix in enumerate(matrices)
                    ]
    return sorted(found, key=lambda pair: -pair.contrast)


def _composed_keys(
    weights: TensorWeights, layer: int, objects: Sequence[int], colours: Sequence[int]
) -> Float[Tensor, "head colour object d"]:
    """x(c, b) of every head of `layer`."""
    E_object, E_colour = weights.E[list(objects)], weights.E[list(colours)]
    pattern = weights.patterns(layer, 1, E_colour, E_object)
    written = weights.writes(layer, E_object)
    return E_colour[:, None] + pattern[..., None] * written[:, None]


def _matches(
    weights: TensorWeights,
    layer: int,
    keys: Float[Tensor, "colour object d"],
    objects: Sequence[int],
    colours: Sequence[int],
    offsets: Sequence[int],
) -> Float[Tensor, "head object object"]:
    """M of every head of `layer`."""
    n = len(colours)
    flat = keys.flatten(0, 1)
    pattern = weights.mean_patterns(layer, offsets, weights.E[list(objects)], flat)
    pattern = pattern.unflatten(-1, (n, -1))
    output = weights.outputs(layer, flat)[..., list(colours)].unflatten(1, (n, -1))
    own = output.diagonal(dim1=1, dim2=3).mT  # head colour object
    others = (output.sum(-1) - own) / (n - 1)
    return (pattern * (own - others)[:, None]).mean(2)
