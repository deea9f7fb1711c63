"""Models of the lag study, asked on the rows they were trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from zscope.models.attention_view_trained import TrainedView
from zscope.models.checkpoints import CheckpointFile
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.heads.asked.model import Ask, Source
from zscope.studies.heads.asked.rows import OWN_AND_CONTROL, behaviours, model_of_rows
from zscope.tables.read import read_table
from zscope.text.tables import ROWS


def asks(
    models: Mapping[str, str],
    rows: Sequence[str],
    settings: Mapping[str, Any],
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> Iterator[Ask]:
    """Each model at its last step. See `model.Asks`."""
    for (name, weights), file in zip(models.items(), rows, strict=True):
        view = TrainedView(last_model(weights).to(device))
        yield partial(model_of_rows, name, view, read_table(file, ROWS))


def last_model(weights: str | Path) -> Transformer:
    """The model at the last step, in eval mode."""
    file = CheckpointFile(weights)
    model = Transformer(TransformerConfig(**file.shape))
    model.load_state_dict(file.load(file.steps[-1]))
    return model.eval().requires_grad_(False)


SOURCE = Source(asks, behaviours, OWN_AND_CONTROL)
