"""A `TensorTransformer` wrapped by TransformerLens: the same weights, with every hook.

Hooks have their usual names: `hook_embed`, `blocks.l.hook_resid_pre`, `blocks.l.attn.hook_q`,
`hook_k`, `hook_v`, `hook_pattern`, `hook_z`, `blocks.l.hook_attn_out`, `hook_resid_post`. `hook_q`
and `hook_k` are q1 and k1 before RoPE; q2 and k2 of bilinear attention are
`blocks.l.attn.q2.hook_out` and `k2.hook_out`. `hook_attn_out` is before the factor of residual
"lerp". An edited pattern changes what the head reads. `hook_attn_scores` holds the pattern, not the
scores: do not use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components import LinearBridge
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

from zscope.models.tensor_transformer import (
    RMS_EPS,
    TensorAttention,
    TensorConfig,
    TensorTransformer,
    rms_normalise,
    rotate,
)
from zscope.models.wrapped_transformer import load_weights


class HookedAttention(TensorAttention):
    """The heads written out, with the place where TransformerLens hooks the pattern."""

    accepts_pattern_fn = True

    def forward(
        self,
        hidden_states: Float[Tensor, "batch seq d"],
        pattern_fn: Callable[[Tensor], Tensor] | None = None,
        **_: Any,
    ) -> tuple[Float[Tensor, "batch seq d"], Float[Tensor, "batch head q k"]]:
        c = self.config
        x = hidden_states

        def heads(name: str) -> Float[Tensor, "batch head seq d_head"]:
            projected = cast(nn.Module, getattr(self, name))(x)
            return projected.unflatten(-1, (c.n_heads, c.d_head)).transpose(1, 2)

        positions = torch.arange(x.shape[1])
        rotated = [rotate(heads(name), positions, c.rope_base) for name in c.rotated]
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        scores = rotated[0] @ rotated[1].mT
        if c.attention == "bilinear":
            scores = scores * (rotated[2] @ rotated[3].mT) / c.d_head**2
            pattern = scores.masked_fill(later, 0.0)
        else:
            pattern = (scores / c.d_head**0.5).masked_fill(later, float("-inf")).softmax(-1)
        if pattern_fn is not None:
            pattern = pattern_fn(pattern)
        return self.o((pattern @ heads("v")).transpose(1, 2).flatten(-2)), pattern


class RMSNorm(nn.Module):
    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return rms_normalise(x)


class HookedBlock(nn.Module):
    def __init__(self, config: TensorConfig) -> None:
        super().__init__()
        self.config = config
        self.ln1 = RMSNorm() if config.rms_norm else nn.Identity()
        self.attn = HookedAttention(config)

    def forward(self, hidden_states: Float[Tensor, "batch seq d"], **_: Any) -> tuple[Tensor]:
        mixed, _pattern = self.attn(self.ln1(hidden_states))
        return (self.config.kept * hidden_states + self.config.written * mixed,)


class HookedModel(nn.Module):
    """The module tree that TransformerLens's native adapter expects."""

    def __init__(self, config: TensorConfig) -> None:
        super().__init__()
        self.tok_embed = nn.Embedding(config.d_vocab, config.d_model)
        self.layers = nn.ModuleList(HookedBlock(config) for _ in range(config.n_layers))
        self.ln_out = RMSNorm() if config.rms_norm else nn.Identity()
        self.head = nn.Linear(config.d_model, config.d_vocab, bias=False)

    def forward(self, input_ids: Int[Tensor, "batch seq"], **_: Any) -> Tensor:
        x = self.tok_embed(input_ids)
        for block in self.layers:
            (x,) = block(x)
        return self.head(self.ln_out(x))


def wrap(model: TensorTransformer) -> TransformerBridge:
    """Copy the weights of `model` into a model with hooks; logits are equal up to rounding.

    Later changes of `model` do not reach the copy: use
    `zscope.models.wrapped_transformer.load_weights`.
    """
    c = model.config
    weight = model.tok_embed.weight
    wrapped = build_bridge_from_module(
        HookedModel(c).to(weight.device, weight.dtype),
        "TransformerLensNative",
        tl_config=TransformerBridgeConfig(
            d_model=c.d_model,
            d_head=c.d_head,
            n_heads=c.n_heads,
            n_layers=c.n_layers,
            n_ctx=c.n_ctx,
            d_vocab=c.d_vocab,
            attn_only=True,
            normalization_type="RMSPre" if c.rms_norm else None,
            eps=RMS_EPS,
            positional_embedding_type="rotary",
        ),
        post_adapter_hook=lambda adapter: _name_projections(adapter, c),
    )
    load_weights(wrapped, model.state_dict())
    return wrapped.eval()


def _name_projections(adapter: Any, config: TensorConfig) -> None:
    """Tell the adapter the names of q, k, q2 and k2."""
    submodules = adapter.component_mapping["blocks"].submodules["attn"].submodules
    for name in config.rotated:
        submodules[name.removesuffix("1")] = LinearBridge(name=name)
