"""The language model that the study reads, as its jobs load it."""

from __future__ import annotations

from pathlib import Path

import torch

from zscope.core.devices import pick_device
from zscope.models.language_model import (
    LanguageModel,
    ModelShape,
    load_language_model,
    read_shape,
)
from zscope.models.named import load_named, named_shape


def load_subject(
    name: str, weights: str | Path, *, trained: bool, dtype: str, device: str
) -> tuple[LanguageModel, dict[str, str]]:
    """A model by its name, and its provenance. weights: its folder; trained: whether it was trained
    here; dtype, device: as in the config.

    Raises ConfigError and CheckpointError as `load_language_model` and `load_named`.
    """
    place, kind = pick_device(device), getattr(torch, dtype)
    if trained:
        lm = load_language_model({"tiny": True}, place, kind, weights)
    else:
        lm = load_named(name, weights, place, kind)
    return lm, {"model": lm.name, "device": str(place)}


def subject_shape(name: str, weights: str | Path, *, trained: bool) -> ModelShape:
    """Its shape, without its weights; arguments and errors as those of `load_subject`."""
    return read_shape({"tiny": True}, weights) if trained else named_shape(name, weights)
