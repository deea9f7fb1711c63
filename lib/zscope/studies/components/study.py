"""Which models, measurements and figures a config of the components study implies.

Loaded on every parse of the Snakefile, so it imports nothing heavy. It knows no other study: what
these train is handed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from zscope.config.messages import Sources, mistake, near
from zscope.core.errors import ConfigError
from zscope.figures.registry import Drawing, figure_modules
from zscope.models.subjects import Subject
from zscope.studies.components.attribution import plan as attribution
from zscope.studies.components.config import ComponentsConfig
from zscope.studies.components.decomposition import plan as decomposition
from zscope.studies.components.dictionaries import plan as dictionaries
from zscope.studies.components.letters import plan as letters
from zscope.studies.components.tables import PARTS, SUMMARY, TABLES
from zscope.tables.schema import Table

PLANNED: dict[
    str, Callable[[Any, Mapping[str, Subject], Mapping[str, Subject], Table], list[str]]
] = {
    "attribution": attribution.files,
    "dictionaries": dictionaries.files,
    "decomposition": decomposition.files,
    "letters": letters.files,
}


@dataclass(frozen=True)
class ComponentsPlan:
    """Models, files and figures.

    trained: what other studies train, by the name that the config calls it by. sources: as in
    `config.load`, for messages.
    """

    config: ComponentsConfig
    trained: Mapping[str, Subject]
    named: Mapping[str, Subject]
    sources: Sources = field(default=(), compare=False, repr=False)

    def check(self) -> ComponentsPlan:
        """Find mistakes before any job starts. Raises ConfigError."""
        toys = {name for name, subject in self.trained.items() if subject.source == "toylang"}
        for name in self.config.toy:
            if not name.startswith("toylang/") or (toys and name not in toys):
                raise ConfigError(
                    mistake(
                        f"no condition {name}; {near(name, toys, 'there are')}",
                        ("components", "toy"),
                        sources=self.sources,
                    )
                )
        return self

    @cached_property
    def toy(self) -> dict[str, Subject]:
        """Conditions of the toy language, by their names in paths."""
        asked = [self.trained[name] for name in self.config.toy if name in self.trained]
        return {subject.path: subject for subject in asked}

    @cached_property
    def pretrained(self) -> dict[str, Subject]:
        """Named models, by their names in paths."""
        return {self.named[n].path: self.named[n] for n in self.config.pretrained}

    def files(self, table: Table) -> list[str]:
        """The files of a table that the config implies."""
        if table == SUMMARY:
            return [table.path] if self.toy else []
        part = next(part for part, tables in PARTS.items() if table in tables)
        return PLANNED[part](getattr(self.config, part), self.toy, self.pretrained, table)

    @cached_property
    def drawings(self) -> dict[str, Drawing]:
        """Every figure whose tables the config implies, by its name."""
        drawn = {
            name: Drawing.of(module, TABLES, self.files)
            for name, module in figure_modules("components").items()
        }
        return {name: d for name, d in drawn.items() if all(d.inputs.values())}
