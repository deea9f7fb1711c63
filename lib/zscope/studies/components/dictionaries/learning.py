"""The one training loop of all sparse dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.errors import TrainingError
from zscope.core.provenance import derive_seed
from zscope.studies.components.dictionaries.config import RecipeConfig
from zscope.studies.components.dictionaries.flat_adam import FlatAdam
from zscope.studies.components.dictionaries.stack import (
    MATRICES,
    Inputs,
    Stack,
    ever,
    project_gradient_,
    renormalise_,
)
from zscope.studies.components.dictionaries.variants.kind import Kind

CUT_DECAY = 0.97
"""Of the running mean of BatchTopK's cut: about the last thirty batches."""


@dataclass(frozen=True)
class Recipe:
    """How long, and how, a dictionary is trained.

    Attributes:
        steps, batch: Adam's steps, and inputs of each.
        lr: learning rate; over the last `cooled` share of the steps it falls to 0.
        warmed: share of the steps over which the penalty rises from 0.
        dead_after: steps without firing after which a latent counts as dead.
    """

    steps: int
    batch: int
    lr: float = 3e-3
    cooled: float = 0.3
    warmed: float = 0.3
    dead_after: int = 100

    def lr_factor(self, step: int) -> float:
        left = self.steps - step
        return min(1.0, left / max(1.0, self.cooled * self.steps))

    def warm(self, step: int) -> float:
        return min(1.0, (step + 1) / max(1.0, self.warmed * self.steps))


def recipe_of(config: RecipeConfig) -> Recipe:
    return Recipe(**config.model_dump())


@dataclass(frozen=True, eq=False)
class Pool:
    """Inputs to draw batches from, with replacement; sources differ in what they hold.

    Attributes:
        x: normalised inputs.
        source: of each dictionary.
        seeds: of each dictionary's batches.
    """

    x: Float[Tensor, "source pool d"]
    source: Int[Tensor, " n"]
    seeds: tuple[int, ...]

    def order(self, count: int) -> Int[Tensor, "n count"]:
        """Which inputs each dictionary sees, from the seed named "batches"."""
        size = self.x.shape[1]
        return torch.stack(
            [
                torch.randint(
                    size,
                    (count,),
                    generator=torch.Generator().manual_seed(derive_seed(seed, "batches")),
                )
                for seed in self.seeds
            ]
        )

    def batch(self, at: Int[Tensor, "n batch"]) -> Inputs:
        flat = self.x.flatten(0, 1)
        rows = at + self.source[:, None] * self.x.shape[1]
        return flat.index_select(0, rows.flatten()).view(*at.shape, -1)


def train(kind: Kind, stack: Stack, pool: Pool, recipe: Recipe) -> Stack:
    """The stack after training; what is handed in is left as it is.

    Raises TrainingError if a loss is not finite at the end.
    """
    optimizer = FlatAdam({**{name: getattr(stack, name) for name in MATRICES}, **stack.own})
    moved = optimizer.parameters
    now = replace(
        stack,
        **{name: moved[name] for name in MATRICES},
        own={name: moved[name] for name in stack.own},
    )
    order = pool.order(recipe.steps * recipe.batch).unflatten(1, (recipe.steps, recipe.batch))
    idle = torch.zeros(now.b_enc.shape, dtype=torch.long)
    cut = stack.cut
    loss = torch.zeros(len(stack))
    for step in range(recipe.steps):
        x = pool.batch(order[:, step])
        terms = kind.loss(now, x, recipe.warm(step), idle >= recipe.dead_after)
        loss = terms.loss
        optimizer.zero_grad()
        loss.sum().backward()
        project_gradient_(now)
        optimizer.step(recipe.lr * recipe.lr_factor(step))
        renormalise_(now)
        with torch.no_grad():
            for name in kind.nonnegative:
                now.own[name].clamp_(min=0)
            idle = torch.where(ever(terms.codes), 0, idle + 1)
            if terms.cut is not None:
                cut = torch.where(cut.isnan(), terms.cut, torch.lerp(terms.cut, cut, CUT_DECAY))
    if not bool(loss.isfinite().all()):
        raise TrainingError("a dictionary's loss is not finite: lower its penalty or learning rate")
    done = {name: t.detach().clone() for name, t in moved.items()}
    return replace(
        now,
        **{name: done[name] for name in MATRICES},
        own={name: done[name] for name in stack.own},
        cut=cut,
    )
