"""The toy language study's runs, what is measured on which, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from zscope.studies.toylang.config import REFERENCE, ToylangConfig
from zscope.studies.toylang.figures.needs import NEEDS


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
    """What is made. Conditions of the dependency study are trained, and no more."""

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
        other models, which all have the language of the reference."""
        return {name: self.conditions[name] for name in (REFERENCE, *self.config.models)}

    @cached_property
    def read(self) -> dict[str, tuple[ToyRun, ...]]:
        """Of those, the conditions whose weights can be read: their models are polynomials."""
        configs = self.config.conditions
        return {n: runs for n, runs in self.measured.items() if configs[n].model.is_polynomial}

    @cached_property
    def comparisons(self) -> dict[str, tuple[str, str]]:
        """(how, what was changed) of every condition that is compared with the reference."""
        models = {name: ("model", name) for name in self.config.models}
        return {**models, **self.config.dependency_conditions}

    @cached_property
    def figures(self) -> tuple[str, ...]:
        return tuple(NEEDS)
