"""The toy language's models, from the checkpoints of their runs."""

from __future__ import annotations

from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer


def load_tensor_model(file: CheckpointFile, step: int) -> TensorTransformer:
    """The model at a step, on the CPU, in eval mode.

    Raises CheckpointError if the step is not there or the file is damaged.
    """
    model = TensorTransformer(TensorConfig(**file.shape))
    model.load_state_dict(file.load(step))
    return model.eval().requires_grad_(False)
