"""A model that the config names, from the folder into which rule fetch_model put it.

Its id is its name with the digest of that folder, so it is the same whatever the model came from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from zscope.models.identity import read_identity
from zscope.models.language_model import (
    LanguageModel,
    ModelShape,
    load_language_model,
    read_shape,
)


def load_named(
    name: str,
    weights: str | Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    known: bool = True,
) -> LanguageModel:
    """The model of a fetched folder, in eval mode; `known` as for `load_language_model`.

    Raises CheckpointError if the folder is not as it was fetched, and what `load_language_model`
    raises.
    """
    identity = f"{name}@{read_identity(weights)}"
    return replace(
        load_language_model({"path": weights}, device, dtype, known=known), name=identity
    )


def named_shape(name: str, weights: str | Path) -> ModelShape:
    """The shape of a fetched model; errors as those of `load_named`."""
    identity = f"{name}@{read_identity(weights)}"
    return replace(read_shape({"path": weights}), name=identity)
