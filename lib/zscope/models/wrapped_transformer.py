"""A `Transformer` wrapped by TransformerLens: the same weights, with every hook."""

from __future__ import annotations

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from zscope.models.transformer import Transformer


def wrap(model: Transformer) -> TransformerBridge:
    """A wrapped copy of `model`, whose logits are equal to 1e-5.

    Later changes of `model` do not reach the copy; use `load_weights`.
    """
    c = model.config
    wrapped = TransformerBridge.boot_native(  # type: ignore[attr-defined]
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
    load_weights(wrapped, model.state_dict())
    device = next(model.parameters()).device
    return wrapped.to(device).eval()


def load_weights(wrapped: TransformerBridge, state: dict[str, torch.Tensor]) -> None:
    """Copy a model's state dict into a wrapped model of the same shape.

    Raises ValueError if they have other parameters.
    """
    own = {
        name.replace("_original_component.", ""): p
        for name, p in wrapped.original_model.named_parameters()
    }
    if own.keys() != state.keys():
        raise ValueError(f"not of the wrapped model's shape: {sorted(own.keys() ^ state.keys())}")
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(state[name])
