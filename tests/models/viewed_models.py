"""A tiny random model of every kind that has an attention view, in float64."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig

from tiny_architectures import VOCABULARY, random_model
from zscope.models.attention_view import AttentionView
from zscope.models.attention_view_tensor import TensorView
from zscope.models.attention_view_trained import TrainedView
from zscope.models.attention_view_transformers import TransformersView
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.models.transformer import Transformer, TransformerConfig

LENGTH = 9  # longer than the windows of tiny_architectures
# Beyond those that zscope loads; two others share their key-value heads.
OTHERS: dict[str, Any] = {
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=24, n_layer=3, n_head=4, n_positions=32,
        scale_attn_by_inverse_layer_idx=True,
    ),
    "gpt-neox": GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=20, max_position_embeddings=32,
    ),
    "gpt-neox, one after the other": GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=20, max_position_embeddings=32, use_parallel_residual=False,
    ),
}  # fmt: skip
NAMED = ("llama", "qwen2", "qwen2 with windows", "qwen3", "mistral with windows", "gemma3")
HUGGING_FACE = (*NAMED, *OTHERS)
TENSOR: dict[str, dict[str, Any]] = {
    "bilinear": {},
    "bilinear, lerp and norms": {"residual": "lerp", "lerp": 0.3, "rms_norm": True},
    "softmax": {"attention": "softmax"},
    "softmax, norms": {"attention": "softmax", "rms_norm": True},
}
TRAINED = (*TENSOR, "lag")
EVERY = (*HUGGING_FACE, *TRAINED)


def randomised(model: Any, std: float = 0.4) -> Any:
    """Weights drawn anew, in the order of their names; gains around 1, biases not 0."""
    generator = torch.Generator().manual_seed(0)
    model = model.double().eval().requires_grad_(False)
    for key, weight in sorted(model.named_parameters()):
        drawn = std * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        gain = key.endswith("weight") and ("ln" in key or "norm" in key)
        weight.copy_(1 + drawn if gain else drawn)
    return model


def hugging_face(name: str, attention: str = "sdpa") -> Any:
    if name in NAMED:
        return random_model(name, attention)
    config = OTHERS[name]
    return randomised(AutoModelForCausalLM.from_config(config, attn_implementation=attention))


def viewed(name: str) -> AttentionView:
    """The view of a model of EVERY; equal names, equal weights."""
    if name in HUGGING_FACE:
        return TransformersView(hugging_face(name))
    if name == "lag":
        config = TransformerConfig(3, 24, 4, 20, LENGTH + 3, VOCABULARY)
        return TrainedView(randomised(Transformer(config)))
    shape: Any = {"d_vocab": VOCABULARY, "n_layers": 3, "d_model": 24, "d_head": 8}
    return TensorView(randomised(TensorTransformer(TensorConfig(**shape, **TENSOR[name])), 0.3))


def tokens_of(batch: int = 3, seq: int = LENGTH) -> torch.Tensor:
    return torch.randint(1, VOCABULARY, (batch, seq), generator=torch.Generator().manual_seed(1))
