"""The attention view of the toy language's tensor transformer; its layers are run explicitly."""

from __future__ import annotations

from collections.abc import Sequence

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
from zscope.models.tensor_transformer import TensorTransformer, rms_normalise


class TensorView(ExplicitView):
    """Of the toy language's attention-only model, bilinear or softmax.

    Bilinear patterns are signed and do not sum to 1.
    """

    def __init__(self, model: TensorTransformer) -> None:
        c = model.config
        self.model = model
        self.n_layers, self.n_heads = c.n_layers, c.n_heads
        self.d_head, self.d_model = c.d_head, c.d_model

    def output_weights(self, layer: int) -> OutputWeights:
        return OutputWeights(self.model.blocks[layer].attn.weight("o"))

    def direct_path(self, layer: int) -> DirectPath:
        c = self.model.config
        return DirectPath(factor=c.written * c.kept ** (c.n_layers - 1 - layer))

    @property
    def final_norm(self) -> Norm:
        return rms_normalise if self.model.config.rms_norm else _nothing

    def unembed(self, normed: Float[Tensor, "*n d"]) -> Float[Tensor, "*n vocab"]:
        return self.model.head(normed)

    def _embed(self, tokens: Int[Tensor, "batch seq"]) -> Stream:
        return self.model.tok_embed(tokens)

    def _layer(self, x: Stream, layer: int, this: Pass) -> Stream:
        block = self.model.blocks[layer]
        *rotated, values = block.attn.split(block.attn.project(block.read(x)))
        this.enter(x)
        z = this.mix(layer, self._pattern(rotated), values, self.output_weights(layer))
        return block.update(x, block.attn.o(z.flatten(-2)))

    def _pattern(self, rotated: Sequence[Tensor]) -> Float[Tensor, "batch head seq seq"]:
        c = self.model.config
        mask = causal_mask(rotated[0].shape[-2], rotated[0].device)
        scores = rotated[0] @ rotated[1].mT
        if c.attention == "softmax":
            return softmax_pattern(scores * c.d_head**-0.5, mask)
        return scores * (rotated[2] @ rotated[3].mT) * mask  # q1 holds the divisor


def _nothing(x: Tensor) -> Tensor:
    return x
