"""Models of the lag study, asked on the rows they were trained on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from zscope.models.attention_view_trained import TrainedView
from zscope.models.checkpoints import CheckpointFile
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.heads.asked.model import (
    Ask,
    Series,
    Source,
    SubjectFiles,
    at_last_step,
)
from zscope.studies.heads.asked.rows import OWN_AND_CONTROL, behaviours, model_of_rows
from zscope.tables.read import read_table
from zscope.text.tables import ROWS


def series(of: SubjectFiles) -> Iterator[Series]:
    """Each model at its checkpoints. See `model.SeriesOf`."""

    def at(name: str, file: CheckpointFile, text: pd.DataFrame, step: int) -> Ask:
        return partial(model_of_rows, name, TrainedView(_trained(file, step).to(of.device)), text)

    for (name, weights), text in zip(of.models.items(), of.rows, strict=True):
        file = CheckpointFile(weights)
        yield Series(name, file.steps, partial(at, name, file, read_table(text, ROWS)))


def last_model(weights: str | Path) -> Transformer:
    """The model at the last step, in eval mode."""
    file = CheckpointFile(weights)
    return _trained(file, file.steps[-1])


def _trained(file: CheckpointFile, step: int) -> Transformer:
    """The model at a step, in eval mode."""
    model = Transformer(TransformerConfig(**file.shape))
    model.load_state_dict(file.load(step))
    return model.eval().requires_grad_(False)


SOURCE = Source(at_last_step(series), behaviours, OWN_AND_CONTROL, series)
