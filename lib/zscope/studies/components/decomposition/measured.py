"""A decomposition of a model of the toy language, loaded and run on sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.components.decomposition.masks import Masked
from zscope.studies.components.decomposition.rank_one import Decomposition
from zscope.studies.components.decomposition.targets import (
    TransformerTarget,
    clean_run,
    log_divergence,
)
from zscope.studies.components.decomposition.training import importances
from zscope.toy_language.excess import CHUNK, ToyEvaluation

PHASES = ("stochastic", "adversarial")
Importances = Float[Tensor, "n seq matrices component"]
MasksOf = Callable[[Float[Tensor, "some seq matrices component"]], Masked]


@dataclass(frozen=True)
class DecompositionShape:
    """The arguments of `Decomposition` beside its target."""

    n: int
    hidden: int

    def to_dict(self) -> dict[str, int]:
        return {"n": self.n, "hidden": self.hidden}


def load_phases(checkpoints: str | Path, weights: str | Path) -> dict[str, Decomposition]:
    """The decomposition at the end of each phase that its training has."""
    target = TransformerTarget(load_last_tensor_model(weights))
    file = CheckpointFile(checkpoints)
    found = {}
    for phase, step in zip(PHASES, file.steps, strict=False):
        made = Decomposition(target, **file.shape, seed=0)
        made.load_state_dict(file.load(step))
        found[phase] = made.eval().requires_grad_(False)
    return found


@dataclass(frozen=True, eq=False)
class Run:
    """A decomposition on fixed sequences of the language."""

    decomposition: Decomposition
    evaluation: ToyEvaluation

    @property
    def model(self) -> TensorTransformer:
        target = self.decomposition.target
        assert isinstance(target, TransformerTarget)
        return target.model

    @cached_property
    def g(self) -> Importances:
        """Importances at every position, the last token's included."""
        parts = [
            importances(self.decomposition, clean_run(self.decomposition.target, some))
            for some in self.evaluation.tokens.split(CHUNK)
        ]
        return torch.cat(parts)

    @cached_property
    def logits(self) -> Float[Tensor, "n seq vocab"]:
        """The target's."""
        with torch.no_grad():
            return torch.cat([self.model(some) for some in self.evaluation.tokens.split(CHUNK)])

    @cached_property
    def excess(self) -> Float[np.ndarray, "n seq-1"]:
        """The target's."""
        return self.evaluation.excess_by(lambda some: self.logits[some])

    @torch.no_grad()
    def masked(self, masks_of: MasksOf) -> tuple[np.ndarray, np.ndarray]:
        """Divergence from the target and excess [n, seq-1] under the masks that `masks_of` makes
        of importances."""
        target, kl = self.decomposition.target, []

        def logits_of(some: slice) -> Tensor:
            masks = masks_of(self.g[some])
            logits = target.run(self.evaluation.tokens[some], masks.apply(self.decomposition))
            kl.append(log_divergence(self.logits[some], logits)[:, :-1])
            return logits

        excess = self.evaluation.excess_by(logits_of)
        return torch.cat(kl).double().numpy(), excess

    def on(self, primitive: str) -> np.ndarray:
        """Positions [n, seq-1] that a primitive governs."""
        masks = self.evaluation.masks
        return masks.get(primitive, np.zeros_like(self.evaluation.labels, dtype=bool))

    @property
    def primitives(self) -> list[str]:
        """The primitives that govern a position here."""
        return [name for name in self.evaluation.masks if name != "all"]

    @cached_property
    def mean_by_primitive(self) -> dict[str, Float[Tensor, "matrices component"]]:
        """Mean importance on the positions of each primitive, and of `all`."""
        flat = self.g[:, :-1].flatten(0, 1)
        return {
            name: flat[torch.from_numpy(mask.ravel())].mean(0)
            for name, mask in self.evaluation.masks.items()
        }

    @cached_property
    def mean_elsewhere(self) -> dict[str, Float[Tensor, "matrices component"]]:
        """Mean importance on all other positions."""
        flat = self.g[:, :-1].flatten(0, 1)
        found = {}
        for name, mask in self.evaluation.masks.items():
            if name != "all":
                found[name] = flat[torch.from_numpy(~mask.ravel())].mean(0)
        return found
