"""The embedded bilingual model, on beginnings of the rows it was trained on."""

from __future__ import annotations

from zscope.models.attention_view_transformers import TransformersView
from zscope.models.language_model import load_language_model
from zscope.studies.heads.asked.rows import model_of_rows
from zscope.studies.heads.prompted.model import Origin, PromptedModel
from zscope.studies.heads.prompted.rows import row_prompts, texts_of
from zscope.tables.read import read_table
from zscope.text.tables import ROWS


def prompted(of: Origin) -> PromptedModel:
    """See `model.Prompted`."""
    lm = load_language_model({"tiny": True}, of.files.device, of.files.dtype, of.weights)
    found = read_table(of.files.rows[0], ROWS)
    return PromptedModel.of(
        model_of_rows(of.name, TransformersView(lm.model), found, of.sizes),
        row_prompts(found, of.n, of.sizes),
        texts_of(found),
        lm.model.config.max_position_embeddings,
        of.sizes.seed,
    )
