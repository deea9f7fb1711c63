"""A tensor transformer's logits as sums: over virtual OV paths, and over what q, k and v read.

With the patterns of a run held fixed, every layer is linear in its stream, and logits are the sum
over paths (at most one head a layer, in order; none: the direct path) of what passes through its
OV matrices (Elhage et al. 2021). With the patterns free, a bilinear head is a product of five
factors, each linear in the stream, and splits exactly by what each of the five reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.tensor_transformer import TensorAttention, TensorTransformer

Head = tuple[int, int]  # layer, head
SLOTS = ("q1", "k1", "q2", "k2", "v")


@dataclass(frozen=True, eq=False)
class PathSum:
    """Logits of each path of a run; their sum over paths is the model's logits."""

    paths: list[tuple[Head, ...]]
    logits: Float[Tensor, "path batch seq vocab"]


def path_sum(model: TensorTransformer, tokens: Int[Tensor, "batch seq"]) -> PathSum:
    """Split logits over the (1 + n_heads)^n_layers virtual OV paths, patterns as in the run.

    Raises:
        DataError: the model has norms, which mix the paths.
    """
    if model.config.rms_norm:
        raise DataError("rms_norm: logits of a model with norms are no sum over paths")
    kept, written = model.config.kept, model.config.written
    x = model.tok_embed(tokens)
    parts: dict[tuple[Head, ...], Tensor] = {(): x}
    for layer, block in enumerate(model.blocks):
        pattern = block.attn.pattern(x)
        through = {
            (*path, (layer, head)): written * out
            for path, part in parts.items()
            for head, out in enumerate(_head_outputs(block.attn, pattern, part))
        }
        parts = {path: kept * part for path, part in parts.items()} | through
        x = block(x)
    return PathSum(list(parts), torch.stack([model.unembed(part) for part in parts.values()]))


def _head_outputs(
    attn: TensorAttention,
    pattern: Float[Tensor, "batch head q k"],
    x: Float[Tensor, "batch seq d"],
) -> Float[Tensor, "head batch q d"]:
    values = torch.einsum("bkd,hed->bhke", x, attn.weight("v"))
    return torch.einsum("bhqe,hed->hbqd", pattern @ values, attn.weight("o"))


@dataclass(frozen=True, eq=False)
class CompositionSplit:
    """A head's write along a direction, by what each of its five factors reads.

    Attributes:
        sources: what a factor may read: None is the embedding, else a head of an earlier layer.
        values: over the sources of q1, k1, q2, k2 and v, in this order (`SLOTS`); the sum over all
            five is the head's write.
    """

    sources: list[Head | None]
    values: Float[Tensor, "batch q1 k1 q2 k2 v"]

    def by(self, *slots: str) -> Tensor:
        """Summed over the sources of all other factors: e.g. by("k1", "k2") for K-composition.

        Raises:
            DataError: a slot is not one of q1, k1, q2, k2, v.
        """
        if unknown := set(slots) - set(SLOTS):
            raise DataError(f"{', '.join(sorted(unknown))}: the factors are {', '.join(SLOTS)}")
        others = [1 + i for i, slot in enumerate(SLOTS) if slot not in slots]
        return self.values.sum(others) if others else self.values


def composition_split(
    model: TensorTransformer,
    tokens: Int[Tensor, "batch seq"],
    head: Head,
    query: int,
    direction: Float[Tensor, " d"],
) -> CompositionSplit:
    """Split what `head` adds at position `query` to the stream's product with `direction`.

    For the last layer and a row of U, that is what it adds to a logit.

    Raises:
        DataError: softmax attention or norms, which are not polynomial.
    """
    if not model.config.is_polynomial:
        raise DataError("only bilinear attention without norms splits by what its factors read")
    layer, index = head
    sources, parts = _stream_parts(model, tokens, layer)
    attn = model.blocks[layer].attn
    projected = attn.project(parts.flatten(0, 1))
    split = (heads[:, index].unflatten(0, parts.shape[:2]) for heads in attn.split(projected))
    q1, k1, q2, k2, v = split
    seen = slice(0, query + 1)
    write = model.config.written * v[:, :, seen] @ (attn.weight("o")[index] @ direction)
    first = torch.einsum("abe,cbke->acbk", q1[:, :, query], k1[:, :, seen])
    second = torch.einsum("abe,cbke->acbk", q2[:, :, query], k2[:, :, seen])
    values = torch.einsum("pqbk,rsbk,vbk->bpqrsv", first, second, write)
    return CompositionSplit(sources, values)


def _stream_parts(
    model: TensorTransformer, tokens: Int[Tensor, "batch seq"], layer: int
) -> tuple[list[Head | None], Float[Tensor, "source batch seq d"]]:
    """The stream before `layer`, by who wrote it."""
    sources: list[Head | None] = [None]
    x = model.tok_embed(tokens)
    parts = x.unsqueeze(0)
    for earlier, block in enumerate(model.blocks[:layer]):
        outputs = _head_outputs(block.attn, block.attn.pattern(x), x)
        parts = torch.cat([model.config.kept * parts, model.config.written * outputs])
        sources += [(earlier, head) for head in range(len(outputs))]
        x = block(x)
    return sources, parts
