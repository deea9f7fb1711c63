"""Training a decomposition, or resuming it where it was killed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zscope.core.provenance import derive_seed
from zscope.studies.components.decomposition.losses import (
    LossSettings,
    damage_of,
    decomposition_loss,
    faithfulness,
)
from zscope.studies.components.decomposition.masks import KINDS, fixed_masks, random_masks
from zscope.studies.components.decomposition.rank_one import Decomposition, importance_in_masks
from zscope.studies.components.decomposition.targets import Clean
from zscope.tables.schema import Row
from zscope.training import Batches, Plan, ResumeFolder, Trained, Trainer, every

GRAD_CLIP = 1.0
ADVERSARIAL_LR = 0.15
"""Share of the peak learning rate in the adversarial phase: a fresh attack has large gradients, and
they would undo the faithfulness."""
ALIVE = 0.01
"""A component is alive if its mean importance is above."""

Batch = tuple[int, Tensor]


class Counted:
    """Batches with the number of their step (training.Batches)."""

    def __init__(self, batches: Batches[Int[np.ndarray, "batch seq"]]) -> None:
        self._batches, self._step = batches, 0

    def next(self) -> Batch:
        step, tokens = self._step, self._batches.next()
        self._step += 1
        # The last token is predicted by those before it and read by none.
        return step, torch.from_numpy(tokens)[:, :-1]

    def state(self) -> dict[str, Any]:
        return {"step": self._step, "batches": self._batches.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self._step = state["step"]
        self._batches.restore(state["batches"])


def learning_rate(settings: LossSettings) -> Callable[[int], float]:
    """Factor of the peak at a step: 1 for faithfulness, then a cosine to 0.1, then that of the
    adversarial phase, which falls linearly."""

    def factor(step: int) -> float:
        if step < settings.faithful_steps:
            return 1.0
        if step < settings.stochastic_end:
            done = (step - settings.faithful_steps) / settings.steps
            return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))
        done = (step - settings.stochastic_end) / settings.adversarial_steps
        return ADVERSARIAL_LR * (1 - done)

    return factor


def train_decomposition(
    name: str,
    decomposition: Decomposition,
    batches: Batches[Batch],
    settings: LossSettings,
    *,
    lr: float,
    seed: int,
    evaluate: Callable[[nn.Module, int], list[Row]],
    eval_every: int,
    folder: ResumeFolder,
) -> Trained:
    """Train to the last phase's end; checkpoints are of the last two phases' ends, and between.

    seed: of the masks and attacks. Raises TrainingError as Trainer.
    """

    def loss(module: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        step, inputs = batch
        return decomposition_loss(decomposition, inputs, step, settings, seed)

    steps = sorted({*every(eval_every, settings.total), settings.stochastic_end})
    plan = Plan(settings.total, steps, steps, GRAD_CLIP)
    optimizer = torch.optim.AdamW(decomposition.parameters(), lr=lr, weight_decay=0.0)
    trainer = Trainer(
        name,
        decomposition,
        [optimizer],
        batches,
        loss,
        evaluate,
        learning_rate(settings),
        plan,
        folder,
    )
    return trainer.train()


@torch.no_grad()
def importances(
    decomposition: Decomposition, clean: Clean
) -> Float[Tensor, "*at matrices component"]:
    """g of every component at every position."""
    return importance_in_masks(decomposition.importances(clean))


@torch.no_grad()
def monitored(
    decomposition: Decomposition, inputs: Tensor, clean: Clean, seed: int
) -> dict[str, float]:
    """What is watched during training, and never trained on but for the random masks: divergences
    by kind of mask, the size of Delta, components that are in use and alive."""
    g = importances(decomposition, clean)
    found = {
        f"kl_{kind}": float(
            damage_of(
                decomposition,
                inputs,
                clean,
                random_masks(g, _drawn(seed), subset=False)
                if kind == "random"
                else fixed_masks(kind, g),
            ).mean()
        )
        for kind in KINDS
    }
    at = tuple(range(g.ndim - 2))
    return {
        **found,
        "delta": float(faithfulness(decomposition).sqrt()),
        "l0": float((g > 0).sum((-2, -1)).float().mean()),
        "alive": float((g.mean(at) > ALIVE).sum()),
    }


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, "monitor"))
