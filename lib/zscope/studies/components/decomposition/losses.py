"""The loss of a decomposition, in its three phases."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.studies.components.decomposition.attack import Shares, attack, random_shares
from zscope.studies.components.decomposition.masks import Masked, random_masks
from zscope.studies.components.decomposition.rank_one import (
    Decomposition,
    importance_in_masks,
    importance_in_penalty,
)
from zscope.studies.components.decomposition.targets import Clean, clean_run

EPS = 1e-6
"""Added to |g| before its power: below p = 1 the slope at 0 is infinite."""
P_SHARE = 0.6
"""Splits are undone late, when p is low, and need a learning rate that is not."""


@dataclass(frozen=True)
class LossSettings:
    """Weights of the loss, and its phases, which follow each other.

    Attributes:
        penalty: b of b sum |g|^p, per position.
        p_first, p_last: p falls linearly over a share `P_SHARE` of the stochastic phase, and stays.
        faithful_steps: faithfulness alone. steps: of the stochastic phase. adversarial_steps: the
            stochastic loss and the adversary.
        attack_steps, attack_size: sign steps of a fresh attack in every step.
        attack_weight: of log(1 + divergence).
    """

    penalty: float
    faithfulness: float = 1000.0
    p_first: float = 2.0
    p_last: float = 0.5
    faithful_steps: int = 200
    steps: int = 900
    adversarial_steps: int = 0
    attack_steps: int = 8
    attack_size: float = 0.2
    attack_weight: float = 0.5

    @property
    def total(self) -> int:
        return self.faithful_steps + self.steps + self.adversarial_steps

    @property
    def stochastic_end(self) -> int:
        """The step after which only the adversarial phase is left."""
        return self.faithful_steps + self.steps

    def p(self, step: int) -> float:
        done = (step - self.faithful_steps) / max(1.0, P_SHARE * self.steps)
        return self.p_first + (self.p_last - self.p_first) * min(max(done, 0.0), 1.0)


def faithfulness(decomposition: Decomposition) -> Float[Tensor, ""]:
    """Mean of Delta^2 over the entries of all matrices."""
    deltas = decomposition.deltas()
    return sum((d.square().sum() for d in deltas), start=torch.zeros(())) / sum(
        d.numel() for d in deltas
    )


def damage_of(
    decomposition: Decomposition, inputs: Tensor, clean: Clean, masks: Masked
) -> Float[Tensor, "*at"]:
    """The divergence from the target under masks, at every position."""
    target = decomposition.target
    return target.divergence(clean.output, target.run(inputs, masks.apply(decomposition)))


def decomposition_loss(
    decomposition: Decomposition, inputs: Tensor, step: int, settings: LossSettings, seed: int
) -> Float[Tensor, ""]:
    """The loss of a step; its random masks depend on the seed and the step alone."""
    loss = settings.faithfulness * faithfulness(decomposition)
    if step < settings.faithful_steps:
        return loss
    draw = torch.Generator().manual_seed(derive_seed(seed, f"masks {step}"))
    clean = clean_run(decomposition.target, inputs)
    h = decomposition.importances(clean)
    g = importance_in_masks(h)
    masks = random_masks(g, draw, subset=True)
    loss = loss + damage_of(decomposition, inputs, clean, masks).mean()
    powers = (importance_in_penalty(h) + EPS) ** settings.p(step)
    loss = loss + settings.penalty * powers.sum((-2, -1)).mean()
    if step >= settings.stochastic_end:
        loss = loss + settings.attack_weight * _adversarial(
            decomposition, inputs, clean, g, settings, draw
        )
    return loss


def _adversarial(
    decomposition: Decomposition,
    inputs: Tensor,
    clean: Clean,
    g: Tensor,
    settings: LossSettings,
    draw: torch.Generator,
) -> Float[Tensor, ""]:
    """log(1 + divergence) under a fresh attack. An adversary that persists from step to step is
    outrun: its masks go out of date as fast as they improve."""
    start = random_shares(len(decomposition.matrices), decomposition.n, draw)
    still = g.detach()

    def damage(shares: Shares) -> Tensor:
        return damage_of(decomposition, inputs, clean, shares.masks(still)).mean()

    worst = attack(start, damage, steps=settings.attack_steps, size=settings.attack_size)
    return damage_of(decomposition, inputs, clean, worst.masks(g)).mean().log1p()
