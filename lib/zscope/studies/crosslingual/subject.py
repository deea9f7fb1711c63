"""The language model that the study reads, as its jobs load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from zscope.core.devices import pick_device
from zscope.models.language_model import LanguageModel, load_language_model


def load_subject(
    model: Mapping[str, Any], dtype: str, device: str, weights: str | Path | None
) -> tuple[LanguageModel, dict[str, str]]:
    """The model, and its provenance. model, dtype: as the study's config has them; device: the
    config's; weights: the folder of a model that was trained here.

    Raises ConfigError and CheckpointError as `load_language_model`.
    """
    place = pick_device(device)
    lm = load_language_model(model, place, getattr(torch, dtype), weights)
    return lm, {"model": lm.name, "device": str(place)}
