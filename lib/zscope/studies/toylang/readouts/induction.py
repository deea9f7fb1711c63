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

from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.studies.toylang.readouts.weights import TensorWeights


@dataclass(frozen=True, eq=False)
class VirtualHead:
    """A head of `layer` whose output a head of `later_layer` reads as a key.

    Attributes:
        matrix: M, in nats of logit; rows are the query's objects.
        contrast: mean of the diagonal minus mean of the rest.
        hits: rows with a unique largest entry that is on the diagonal.
    """

    layer: int
    head: int
    later_layer: int
    later_head: int
    matrix: Float[Tensor, "object object"]
    contrast: float
    hits: int


@dataclass(frozen=True, eq=False)
class LayerPair:
    """All heads of `later_layer` reading as a key what all heads of `layer` write; otherwise as
    `VirtualHead`."""

    layer: int
    later_layer: int
    matrix: Float[Tensor, "object object"]
    contrast: float
    hits: int


def induction_heads(
    weights: TensorWeights,
    objects: Sequence[int],
    colours: Sequence[int],
    offsets: Sequence[int],
) -> list[VirtualHead]:
    """Every pair of heads of two layers, the largest contrast first.

    offsets: distances from the query to the colour, over which M is averaged.

    Raises:
        DataError: fewer than two objects or colours, or no offset.
    """
    _check(objects, colours)
    found = []
    for layer in range(weights.n_layers):
        keys = _composed_keys(weights, layer, objects, colours)
        for later in range(layer + 1, weights.n_layers):
            for head, x in enumerate(keys):
                matrices = _matches(weights, later, x, objects, colours, offsets)
                found += [
                    VirtualHead(layer, head, later, later_head, matrix, *_score(matrix))
                    for later_head, matrix in enumerate(matrices)
                ]
    return sorted(found, key=lambda pair: -pair.contrast)


def induction_layers(
    weights: TensorWeights,
    objects: Sequence[int],
    colours: Sequence[int],
    offsets: Sequence[int],
) -> list[LayerPair]:
    """Every pair of layers, with all their heads together, the largest contrast first.

    Arguments and errors as for `induction_heads`.
    """
    _check(objects, colours)
    found = []
    for layer in range(weights.n_layers):
        E_colour = weights.E[list(colours)][:, None]
        written = _composed_keys(weights, layer, objects, colours) - E_colour
        x = E_colour + written.sum(0)
        for later in range(layer + 1, weights.n_layers):
            matrix = _matches(weights, later, x, objects, colours, offsets).sum(0)
            found.append(LayerPair(layer, later, matrix, *_score(matrix)))
    return sorted(found, key=lambda pair: -pair.contrast)


def _check(objects: Sequence[int], colours: Sequence[int]) -> None:
    if min(len(objects), len(colours)) < 2:
        raise DataError(
            f"{len(objects)} objects, {len(colours)} colours: induction is a choice between at "
            "least two of each"
        )


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


def _score(matrix: Float[Tensor, "object object"]) -> tuple[float, int]:
    """Contrast and hits (`VirtualHead`)."""
    n = len(matrix)
    diagonal = matrix.diagonal()
    contrast = diagonal.mean() - (matrix.sum() - diagonal.sum()) / (n * (n - 1))
    largest = matrix == matrix.amax(1, keepdim=True)
    hits = (largest.diagonal() & (largest.sum(1) == 1)).sum()
    return float(contrast), int(hits)
