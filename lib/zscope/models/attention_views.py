"""The attention view of a model, whatever kind of model it is."""

from __future__ import annotations

from typing import Any

from zscope.models.attention_view import AttentionView
from zscope.models.attention_view_trained import TensorView, TrainedView
from zscope.models.attention_view_transformers import TransformersView
from zscope.models.tensor_transformer import TensorTransformer
from zscope.models.transformer import Transformer


def view_of(model: Any) -> AttentionView:
    """A view of a `TensorTransformer`, a `Transformer` or a model of Hugging Face.

    Raises ConfigError for a model of Hugging Face whose attention cannot be seen.
    """
    if isinstance(model, TensorTransformer):
        return TensorView(model)
    if isinstance(model, Transformer):
        return TrainedView(model)
    return TransformersView(model)
