"""A `Transformer` as a TransformerLens bridge: the same weights, with every hook."""

from __future__ import annotations

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from zscope.models.transformer import Transformer


def to_bridge(model: Transformer) -> TransformerBridge:
    """Copy the weights of `model` into a bridge of the same shape (logits equal to 1e-5).

    The copy is the bridge's own: later changes of `model` do not reach it; use `load_weights`.
    """
    c = model.config
    bridge = TransformerBridge.boot_native(  # type: ignore[attr-defined]
        TransformerBridgeConfig(
            d_model=c.d_model,
            d_head=c.d_head,
            n_heads=c.n_heads,
            n_layers=c.n_layers,
            d_mlp=c.d_mlp,
            n_ctx=c.n_ctx,
            d_vocab=c.d_vocab,
            act_fn="gelu",
            normalization_type="LN",
            positional_embedding_type="standard",
            seed=0,
        )
    )
    load_weights(bridge, model.state_dict())
    device = next(model.parameters()).device
    return bridge.to(device).eval()


def load_weights(bridge: TransformerBridge, state: dict[str, torch.Tensor]) -> None:
    """Put a `Transformer`'s state dict into a bridge of the same shape."""
    own = {
        name.replace("_original_component.", ""): p
        for name, p in bridge.original_model.named_parameters()
    }
    if own.keys() != state.keys():
        raise ValueError(f"other parameters than the bridge's: {sorted(own.keys() ^ state.keys())}")
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(state[name])
