"""Which runs, measurements and figures a config of the toy language study implies.

Loaded on every parse of the Snakefile, so it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from zscope.figures.registry import Drawing, figure_modules
from zscope.studies.toylang.config import ToylangConfig
from zscope.studies.toylang.tables import OF_WEIGHTS, REFERENCE, TABLES
from zscope.tables.schema import Table


@dataclass(frozen=True)
class ToyRun:
    """A training run: a condition and a seed."""

    condition: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.condition}-s{self.seed}"


@dataclass(frozen=True)
class ToylangPlan:
    """Runs, files and figures. Conditions of the dependency study are trained, not measured."""

    config: ToylangConfig

    @cached_property
    def conditions(self) -> dict[str, tuple[ToyRun, ...]]:
        """The runs of every condition, by seed; the first is the reference."""
        return {
            name: tuple(ToyRun(name, seed) for seed in sorted(self.config.seeds_of(name)))
            for name in self.config.conditions
        }

    @cached_property
    def runs(self) -> dict[str, ToyRun]:
        """Every run, by its name."""
        return {run.name: run for runs in self.conditions.values() for run in runs}

    @cached_property
    def measured(self) -> dict[str, tuple[ToyRun, ...]]:
        """Conditions whose heads are ablated and that are experimented on: the reference and the
        other models. All have the language of the reference."""
        return {name: self.conditions[name] for name in (REFERENCE, *self.config.models)}

    @cached_property
    def read(self) -> dict[str, tuple[ToyRun, ...]]:
        """The measured conditions whose weights can be read: their models are polynomials."""
        configs = self.config.conditions
        return {n: runs for n, runs in self.measured.items() if configs[n].model.is_polynomial}

    @cached_property
    def comparisons(self) -> dict[str, tuple[str, str]]:
        """(how, what was changed) of every condition that is compared with the reference."""
        models = {name: ("model", name) for name in self.config.models}
        return {**models, **self.config.dependency_conditions}

    def files(self, table: Table) -> list[str]:
        """The files of a table that the config implies."""
        if "{run}" in table.path:
            return table.paths(run=self.runs)
        if "{condition}" in table.path:
            return table.paths(condition=self.read if table in OF_WEIGHTS else self.measured)
        return table.paths()

    @cached_property
    def drawings(self) -> dict[str, Drawing]:
        """Every figure, by its name."""
        modules = figure_modules("toylang")
        return {name: Drawing.of(module, TABLES, self.files) for name, module in modules.items()}
