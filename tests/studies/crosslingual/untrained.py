"""An untrained model whose outputs have all lengths, for tests of generation."""

from __future__ import annotations

from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.tiny_qwen import TinyShape, build_tiny_qwen


def ending_anywhere() -> LanguageModel:
    """Its outputs end at all lengths: many tokens count as the end."""
    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=4, init_std=0.25), 3)
    model.generation_config.eos_token_id = list(range(1, len(tokenizer), 6))
    return LanguageModel(model.eval().requires_grad_(False), tokenizer, "tiny")
