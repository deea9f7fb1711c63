"""The cross-lingual study's models, layers and figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from zscope.studies.crosslingual.config import CrosslingualConfig, CrosslingualFigure

ONLY_TRAINED = ("training",)  # figures that need a model of our own training


@dataclass(frozen=True)
class CrosslingualPlan:
    """What is made: every model of the study goes through the same rules."""

    config: CrosslingualConfig

    @cached_property
    def models(self) -> dict[str, int | None]:
        """Names of the models, with the training seed of each that is trained here."""
        return self.config.model_names

    @cached_property
    def layers(self) -> dict[str, int | float]:
        """Layers that are patched, by their text in paths."""
        return {str(layer): layer for layer in self.config.z.layers}

    @property
    def trained(self) -> bool:
        return self.config.model.tiny

    @cached_property
    def figures(self) -> tuple[str, ...]:
        names = get_args(CrosslingualFigure)
        return tuple(n for n in names if self.trained or n not in ONLY_TRAINED)
