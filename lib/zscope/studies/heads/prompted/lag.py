"""Models of the lag study, on beginnings of the rows they were trained on."""

from __future__ import annotations

from zscope.models.attention_view_trained import TrainedView
from zscope.studies.heads.asked.lag import last_model
from zscope.studies.heads.asked.rows import model_of_rows
from zscope.studies.heads.prompted.model import Origin, PromptedModel
from zscope.studies.heads.prompted.rows import row_prompts, texts_of
from zscope.tables.read import read_table
from zscope.text.tables import ROWS


def prompted(of: Origin) -> PromptedModel:
    """See `model.Prompted`."""
    view, found = (
        TrainedView(last_model(of.weights).to(of.files.device)),
        read_table(of.files.rows[0], ROWS),
    )
    return PromptedModel.of(
        model_of_rows(of.name, view, found, of.sizes),
        row_prompts(found, of.n, of.sizes),
        texts_of(found),
        view.model.config.n_ctx,
        of.sizes.seed,
    )
