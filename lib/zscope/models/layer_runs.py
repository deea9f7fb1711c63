"""Some of a language model's layers, run as the model runs them, with a cache.

The layers are the model's own modules; masks and rotary embeddings are those that transformers
makes for it, one of each per layer type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from zscope.models.architectures import SLIDING, LayerType
from zscope.models.language_model import LanguageModel


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """What layers read beside the stream of a batch of tokens.

    Attributes:
        positions: of the tokens, from 0 at each row's first real one.
        masks: causal masks by layer type, [batch, 1, seq, keys], or None for a plain causal one.
        rotary: cos and sin by layer type, each [batch, seq, d_head].
    """

    positions: Int[Tensor, "batch seq"]
    masks: Mapping[LayerType, Any]
    rotary: Mapping[LayerType, tuple[Tensor, Tensor]]

    def last(self) -> LayerInputs:
        """Of the last token alone, which sees the keys of all."""
        return LayerInputs(
            self.positions[:, -1:],
            {t: None if mask is None else mask[:, :, -1:] for t, mask in self.masks.items()},
            {t: (cos[:, -1:], sin[:, -1:]) for t, (cos, sin) in self.rotary.items()},
        )

    def repeated(self, times: int) -> LayerInputs:
        """Of the same batch `times` over, one copy after another."""
        return LayerInputs(
            repeat(self.positions, times),
            {t: None if mask is None else repeat(mask, times) for t, mask in self.masks.items()},
            {t: (repeat(cos, times), repeat(sin, times)) for t, (cos, sin) in self.rotary.items()},
        )


def repeat(x: Tensor, times: int) -> Tensor:
    """Rows of x `times` over, one copy of all after another."""
    return x.repeat(times, *[1] * (x.ndim - 1))


def new_cache() -> Any:
    """An empty cache of transformers, which keeps the keys of every token at every layer.

    One that is made for the config drops what is behind a layer's sliding window. From what is left
    of a prompt, neither its length nor the window of an earlier token could be had again.
    """
    from transformers import DynamicCache

    return DynamicCache()


def inputs_of(
    lm: LanguageModel,
    h: Float[Tensor, "batch seq d"],
    mask: Int[Tensor, "batch seq"],
    positions: Int[Tensor, "batch seq"],
    cache: Any,
) -> LayerInputs:
    """What the layers read beside h. mask: 1 for real tokens; cache: what they will write into."""
    from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

    types = dict.fromkeys(lm.layer_types)
    rotary = lm.model.model.rotary_emb
    masks = {
        t: (create_sliding_window_causal_mask if t == SLIDING else create_causal_mask)(
            config=lm.model.config,
            inputs_embeds=h,
            attention_mask=mask,
            past_key_values=cache,
            position_ids=positions,
        )
        for t in types
    }
    if lm.architecture.rotary_by_type:
        return LayerInputs(positions, masks, {t: rotary(h, positions, t) for t in types})
    return LayerInputs(positions, masks, dict.fromkeys(types, rotary(h, positions)))


def run_layers(
    lm: LanguageModel,
    layers: range,
    h: Float[Tensor, "batch seq d"],
    inputs: LayerInputs,
    cache: Any,
) -> Float[Tensor, "batch seq d"]:
    """The stream after these layers, from the stream before the first of them."""
    types = lm.layer_types
    for i in layers:
        h = lm.layer(i)(
            h,
            attention_mask=inputs.masks[types[i]],
            position_embeddings=inputs.rotary[types[i]],
            position_ids=inputs.positions,
            past_key_values=cache,
            use_cache=True,
        )
    return h
