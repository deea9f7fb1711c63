"""A tiny random model of every architecture, and what eager attention makes of one prompt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from zscope.models.language_model import LanguageModel

WINDOW, VOCABULARY = 4, 53
# A head is not d over heads wide, so that d_head * heads is another number than d.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
LISTED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA_ROTARY = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6},
}
CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, {"attention_bias": True, "rope_parameters": LLAMA3}),
    "qwen2": (Qwen2Config, {}),
    "qwen2 with windows": (
        Qwen2Config,
        {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": LISTED},
    ),
    "qwen3": (Qwen3Config, {"attention_bias": True}),
    "mistral": (MistralConfig, {"sliding_window": None}),
    "mistral with windows": (MistralConfig, {"sliding_window": WINDOW}),
    "gemma3": (
        Gemma3TextConfig,
        {
            "layer_types": LISTED,
            "sliding_window": WINDOW,
            "rope_parameters": GEMMA_ROTARY,
            "query_pre_attn_scalar": 5,
            "final_logit_softcapping": 4.0,
        },
    ),
}
WINDOWED = tuple(name for name, (_, own) in CONFIGS.items() if own.get("sliding_window"))


def config_of(name: str, **settings: Any) -> Any:
    """The transformers config of one of CONFIGS, with other settings."""
    kind, own = CONFIGS[name]
    return kind(**{**SIZES, "num_hidden_layers": 4, **own, **settings})


def random_model(name: str, attention: str = "sdpa", **settings: Any) -> Any:
    """A model in float64 in which no gain is 1 and no bias 0; equal names, equal weights."""
    config = config_of(name, **settings)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).double()
    generator = torch.Generator().manual_seed(0)
    centre = 0.0 if name == "gemma3" else 1.0
    with torch.no_grad():
        for key, weight in sorted(model.named_parameters()):
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(centre + 0.4 * drawn if "norm" in key else 0.5 * drawn)
    model.generation_config = GenerationConfig(eos_token_id=None, pad_token_id=0)
    return model.eval().requires_grad_(False)


def language_model(name: str, **settings: Any) -> LanguageModel:
    """The model with a tokenizer that writes tokens as numbers."""

    def decode(tokens: list[int], skip_special_tokens: bool) -> str:
        return " ".join(map(str, tokens))

    tokenizer: Any = SimpleNamespace(decode=decode)
    return LanguageModel(random_model(name, **settings), tokenizer, name)


def prompts() -> list[list[int]]:
    """Prompts of several lengths, most of them longer than the window."""
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(1, VOCABULARY, (n,), generator=generator).tolist() for n in (11, 3, 7, 14, 9)
    ]


def padded(rows: list[list[int]]) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """Token ids and attention mask, padded on the left."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def eager_states(model: Any, row: list[int]) -> list[Float[Tensor, "seq d"]]:
    """The stream before every layer, and before the final norm, of a prompt alone."""
    found: list[Tensor] = []
    modules = [*model.model.layers, model.model.norm]
    handles = [
        m.register_forward_pre_hook(lambda module, args: found.append(args[0][0])) for m in modules
    ]
    try:
        model(torch.tensor([row]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found
