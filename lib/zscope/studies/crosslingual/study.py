"""What the cross-lingual study makes: its models, patched layers and figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zscope.figures.registry import Drawing, FigureModule, figure_modules
from zscope.models.registry import TINY
from zscope.studies.crosslingual.config import CrosslingualConfig
from zscope.studies.crosslingual.tables import SIZES, TABLES, WEIGHTS
from zscope.tables.schema import Table

# Names in the NEEDS of figures.
OF_MODELS = {table.short.upper() for table in TABLES if "{model}" in table.path}
OF_WEIGHTS = {table.short.upper() for table in (WEIGHTS, SIZES)}


@dataclass(frozen=True)
class CrosslingualPlan:
    """Every model of the study goes through the same rules."""

    config: CrosslingualConfig

    @cached_property
    def models(self) -> dict[str, int | None]:
        """Names of the models that everything is measured on, with the training seed of each that
        is trained here."""
        return {name: seed for models in self.families.values() for name, seed in models.items()}

    @cached_property
    def families(self) -> dict[str, dict[str, int | None]]:
        """The same by family: the trainings of the embedded model, or one named model. Models of a
        family have one shape, and their verdicts are taken as one."""
        return {name: self.config.seeds_of(name) for name in self.config.models}

    @cached_property
    def family_of(self) -> dict[str, str]:
        """The family of each model."""
        return {name: family for family, models in self.families.items() for name in models}

    @cached_property
    def trained(self) -> dict[str, int]:
        """Names of the models that are trained here, with their training seeds."""
        return {name: seed for name, seed in self.models.items() if seed is not None}

    @cached_property
    def measured(self) -> dict[str, int | None]:
        """All models: `models`, and those of which the weights alone are measured."""
        return {**self.models, **dict.fromkeys(self.config.weights_only)}

    @cached_property
    def layers(self) -> dict[str, int | float]:
        """Layers that are patched, by their text in paths."""
        return {str(layer): layer for layer in self.config.z.layers}

    def declared(self, family: str) -> dict[str, Any]:
        """The cell that was declared before the run, the family that a figure shows, and the gate
        (null: not trained here).

        layer and k are texts of the config, for the table of sizes.
        """
        verdict, z = self.config.verdict, self.config.z
        return {
            "layer": str(verdict.layer),
            "k": str(verdict.k),
            "kind": z.kind,
            "design": verdict.design,
            "source": verdict.source,
            "where": verdict.where,
            "position_0": z.position_0,
            "direction": verdict.direction,
            "family": family,
            "gate": self.config.tiny.training.gate if family == TINY else None,
        }

    def patching_of(self, layer: str) -> dict[str, Any]:
        """What the patching of a layer reads of the config, beside what all layers read.

        Only the declared layer has nulls that verdicts read, and their draws. layer: a text of the
        config, as in `layers`.
        """
        verdict, patching = self.config.verdict, self.config.patching
        if layer != str(verdict.layer):
            return {"patching": patching.model_dump(exclude={"verdict_draws"}), "verdict": None}
        cell = {"layer", "k", "design", "source", "where", "direction"}
        return {"patching": patching.model_dump(), "verdict": verdict.model_dump(include=cell)}

    @cached_property
    def drawings(self) -> dict[str, Drawing]:
        """The figures by name: of the embedded model, and below its name those of each other.

        Of a model of which the weights alone are measured, there are those that need no more.
        """
        out: dict[str, Drawing] = {}
        modules = figure_modules("crosslingual")
        for family, models in self.families.items():
            for name, module in modules.items():
                if not {*module.needs} & OF_MODELS:
                    out.setdefault(name, self._drawing(module, family, models))  # once for all
                elif family == TINY or not module.constants.get("ONLY_TRAINED"):
                    path = name if family == TINY else f"{family}/{name}"
                    out[path] = self._drawing(module, family, models)
        for model in self.config.weights_only:
            for name, module in modules.items():
                if {*module.needs} <= OF_WEIGHTS:
                    out[f"{model}/{name}"] = self._drawing(module, model, [model])
        return out

    def _drawing(self, module: FigureModule, family: str, models: Iterable[str]) -> Drawing:
        def files(table: Table) -> list[str]:
            return table.paths(model=models) if "{model}" in table.path else [table.path]

        group = "Figures" if family == TINY else family
        return Drawing.of(module, TABLES, files, self.declared(family), group)
