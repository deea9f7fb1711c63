"""The attention view of the small decoder that the lag study trains; its layers are run
explicitly."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.models.attention_view import (
    DirectPath,
    Norm,
    OutputWeights,
    Pass,
    Stream,
    causal_mask,
    softmax_pattern,
)
from zscope.models.attention_view_explicit import ExplicitView
from zscope.models.transformer import Block, Transformer


class TrainedView(ExplicitView):
    """Of a decoder with MLPs."""

    def __init__(self, model: Transformer) -> None:
        c = model.config
        self.model = model
        self.n_layers, self.n_heads = c.n_layers, c.n_heads
        self.d_head, self.d_model = c.d_head, c.d_model

    @property
    def blocks(self) -> list[Block]:
        return cast(list[Block], list(self.model.layers))

    def output_weights(self, layer: int) -> OutputWeights:
        o = self.blocks[layer].attn.o
        return OutputWeights(o.weight.mT.unflatten(0, (self.n_heads, -1)), o.bias)

    def direct_path(self, layer: int) -> DirectPath:
        return DirectPath()

    @property
    def final_norm(self) -> Norm:
        return self.model.ln_out

    def unembed(self, normed: Float[Tensor, "*n d"]) -> Float[Tensor, "*n vocab"]:
        return self.model.head(normed)

    def _layer(self, x: Stream, layer: int, this: Pass) -> Stream:
        block = self.blocks[layer]
        attn, normed = block.attn, block.ln1(x)
        q, k, v = (self._heads(part(normed)) for part in (attn.q, attn.k, attn.v))
        mask = causal_mask(x.shape[1], x.device)
        this.enter(x)
        z = this.mix(
            layer,
            softmax_pattern(q @ k.mT * self.d_head**-0.5, mask),
            v,
            self.output_weights(layer),
        )
        return block.add_mlp(x + attn.o(z.flatten(-2)))

    def _embed(self, tokens: Int[Tensor, "batch seq"]) -> Stream:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.model.tok_embed(tokens) + self.model.pos(places)

    def _heads(self, x: Stream) -> Float[Tensor, "batch head seq d_head"]:
        return x.unflatten(-1, (self.n_heads, self.d_head)).transpose(1, 2)
