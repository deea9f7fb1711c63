"""The z of a tensor transformer's heads (values mixed by the pattern), read and replaced.

Works without hooks, for bilinear and softmax attention. `wrapped_tensor.wrap` gives the same
numbers through TransformerLens (`blocks.l.attn.hook_z`), several times slower.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zscope.models.tensor_transformer import TensorBlock, TensorTransformer

Head = tuple[int, int]  # layer, head
CHUNK = 64  # sequences per forward pass


def head_name(layer: int, head: int) -> str:
    return f"L{layer}H{head}"


def head_z(
    model: TensorTransformer, tokens: Int[Tensor, "batch seq"]
) -> Float[Tensor, "layer batch seq head d_head"]:
    """The z of every head."""
    x, found = model.tok_embed(tokens), []
    for block in model.blocks:
        z = _z(block, x)
        found.append(z)
        x = block.update(x, block.attn.o(z.flatten(-2)))
    return torch.stack(found)


@torch.no_grad()
def mean_z(
    model: TensorTransformer, tokens: Int[Tensor, "n seq"]
) -> Float[Tensor, "layer head d_head"]:
    """The mean of every head's z over sequences and positions, summed in double precision."""
    chunks = [
        head_z(model, some).double().sum((1, 2)).cpu() for some in tokens.split(CHUNK)
    ]  # float64 on the CPU: not every GPU has it
    return (torch.stack(chunks).sum(0) / tokens.numel()).to(model.tok_embed.weight)


class ReplacedHeads(nn.Module):
    """A model with the z of some heads set to given values. Its weights are shared, not copied.

    z: by (layer, head), tensors that broadcast to [batch, seq, d_head]. Heads of later layers read
    the new outputs of the replaced heads. For mean ablation of a head, give its `mean_z`.
    """

    def __init__(
        self, model: TensorTransformer, z: Mapping[Head, Float[Tensor, "*#batch d_head"]]
    ) -> None:
        super().__init__()
        self.model, self.replaced = model, dict(z)

    def forward(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        x = self.model.tok_embed(tokens)
        for layer, block in enumerate(self.model.blocks):
            heads = list(_z(block, x).unbind(2))
            for (of_layer, head), z in self.replaced.items():
                if of_layer == layer:
                    heads[head] = z.expand_as(heads[head])
            x = block.update(x, block.attn.o(torch.cat(heads, -1)))
        return self.model.unembed(x)


def _z(
    block: TensorBlock, x: Float[Tensor, "batch seq d"]
) -> Float[Tensor, "batch seq head d_head"]:
    c = block.config
    return block.attn.z(block.attn.project(block.read(x))).unflatten(-1, (c.n_heads, c.d_head))
