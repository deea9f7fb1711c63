"""The embedded bilingual model, on beginnings of the rows it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from zscope.models.attention_view_transformers import TransformersView
from zscope.models.language_model import load_language_model
from zscope.studies.heads.asked.model import Sizes
from zscope.studies.heads.asked.rows import model_of_rows
from zscope.studies.heads.prompted.model import PromptedModel
from zscope.studies.heads.prompted.rows import row_prompts, texts_of
from zscope.tables.read import read_table
from zscope.text.tables import ROWS


def prompted(
    name: str,
    weights: str,
    rows: Sequence[str],
    settings: Mapping[str, Any],
    sizes: Sizes,
    *,
    file: str | None,
    n: int,
    dtype: torch.dtype,
    device: torch.device,
) -> PromptedModel:
    """See `model.Prompted`."""
    lm = load_language_model({"tiny": True}, device, dtype, weights)
    found = read_table(rows[0], ROWS)
    return PromptedModel.of(
        model_of_rows(name, TransformersView(lm.model), found, sizes),
        row_prompts(found, n, sizes),
        texts_of(found),
        lm.model.config.max_position_embeddings,
    )
