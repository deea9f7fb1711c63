"""The ceiling of what a dictionary can be read for: a probe that sees the whole stream."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from zscope.core.provenance import derive_seed
from zscope.studies.components.dictionaries.flat_adam import FlatAdam


def probe_scores(
    x: Float[Tensor, "n d"],
    labels: Bool[np.ndarray, "n label"],
    others: Float[Tensor, "m d"],
    *,
    steps: int,
    seed: int,
    batch: int = 1024,
    lr: float = 0.03,
) -> tuple[Float[np.ndarray, "n label"], Float[np.ndarray, "m label"]]:
    """Logits of a logistic regression of each label on standardised inputs, trained on x.

    Returns those of x and of `others`. Adam, batches from the seed named "probe", the learning rate
    falls linearly to 0.
    """
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    x, others = (x - mean) / std, (others - mean) / std
    y = torch.from_numpy(labels).to(x.dtype)
    rate = y.mean(0).clamp(1e-4, 1 - 1e-4)
    adam = FlatAdam({"weight": torch.zeros(y.shape[1], x.shape[1]), "bias": torch.logit(rate)})
    weight, bias = adam.parameters["weight"], adam.parameters["bias"]
    generator = torch.Generator().manual_seed(derive_seed(seed, "probe"))
    for step in range(steps):
        at = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
        adam.zero_grad()
        logits = F.linear(x[at], weight, bias)
        F.binary_cross_entropy_with_logits(logits, y[at]).mul(y.shape[1]).backward()
        adam.step(lr * (1 - step / steps))
    with torch.no_grad():
        found = (F.linear(part, weight, bias).numpy() for part in (x, others))
        return next(found), next(found)
