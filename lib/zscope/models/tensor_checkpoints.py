"""Loading the toy language's models from the checkpoints of their runs."""

from __future__ import annotations

from pathlib import Path

from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer


def load_tensor_model(file: CheckpointFile, step: int) -> TensorTransformer:
    """The model at a step, on the CPU, in eval mode.

    Raises CheckpointError if the step is not there or the file is damaged.
    """
    model = TensorTransformer(TensorConfig(**file.shape))
    model.load_state_dict(file.load(step))
    return model.eval().requires_grad_(False)


def load_last_tensor_model(path: str | Path) -> TensorTransformer:
    """As `load_tensor_model`, for the last step of a run's checkpoints."""
    file = CheckpointFile(path)
    return load_tensor_model(file, file.steps[-1])
