"""What the cross-lingual study makes: its models, patched layers and figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zscope.figures.registry import Drawing, figure_modules
from zscope.studies.crosslingual.config import CrosslingualConfig
from zscope.studies.crosslingual.tables import TABLES
from zscope.tables.schema import Table


@dataclass(frozen=True)
class CrosslingualPlan:
    """Every model of the study goes through the same rules."""

    config: CrosslingualConfig

    @cached_property
    def models(self) -> dict[str, int | None]:
        """Names of the models, with the training seed of each that is trained here."""
        return self.config.model_names

    @cached_property
    def layers(self) -> dict[str, int | float]:
        """Layers that are patched, by their text in paths."""
        return {str(layer): layer for layer in self.config.z.layers}

    @cached_property
    def declared(self) -> dict[str, Any]:
        """The cell that was declared before the run, and the gate (null: not trained here).

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
            "gate": self.config.tiny.training.gate if self.config.model.tiny else None,
        }

    def patching_of(self, layer: str) -> dict[str, Any]:
        """What the patching of a layer reads of the config, beside what all layers read.

        Only the declared layer has cells that verdicts read, and their draws. layer: a text of the
        config, as in `layers`.
        """
        verdict, patching = self.config.verdict, self.config.patching
        if layer != str(verdict.layer):
            return {"patching": patching.model_dump(exclude={"verdict_draws"}), "verdict": None}
        cell = {"layer", "k", "design", "source", "where", "direction"}
        return {"patching": patching.model_dump(), "verdict": verdict.model_dump(include=cell)}

    @cached_property
    def drawings(self) -> dict[str, Drawing]:
        """The figures, by name; one that shows a training only if there is one."""
        return {
            name: Drawing.of(module, TABLES, self._files, self.declared)
            for name, module in figure_modules("crosslingual").items()
            if self.config.model.tiny or not module.constants.get("ONLY_TRAINED")
        }

    def _files(self, table: Table) -> list[str]:
        by_model = "{model}" in table.path
        return table.paths(model=self.models) if by_model else [table.path]
