"""The embedded bilingual model, asked on the rows it was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from zscope.models.attention_view_transformers import TransformersView
from zscope.models.language_model import load_language_model
from zscope.studies.heads.asked.model import (
    Ask,
    Source,
    SubjectFiles,
)
from zscope.studies.heads.asked.rows import OWN_AND_CONTROL, behaviours, model_of_rows
from zscope.tables.read import read_table
from zscope.text.tables import ROWS


def asks(of: SubjectFiles) -> Iterator[Ask]:
    """Each model. See `model.Asks`."""
    for (name, weights), file in zip(of.models.items(), of.rows, strict=True):
        lm = load_language_model({"tiny": True}, of.device, of.dtype, weights)
        yield partial(model_of_rows, name, TransformersView(lm.model), read_table(file, ROWS))


SOURCE = Source(asks, behaviours, OWN_AND_CONTROL)
