"""The list of figures: every module in `studies/<study>/figures/` that defines NEEDS.

    NEEDS = (ONSETS, SUMMARY)      # Table objects of the study that the figure reads

    @style.styled
    def draw(tables: Tables) -> Figure: ...

Modules are parsed and not imported, because the Snakefile needs this list on every call and
matplotlib takes a second to load. Standard library only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from zscope.tables.schema import Table

STUDIES = Path(__file__).parents[1] / "studies"


@dataclass(frozen=True)
class FigureModule:
    """The module of a figure. constants: its upper-case names with plain values, such as SWEEP."""

    study: str
    name: str
    needs: tuple[str, ...]
    constants: Mapping[str, Any]

    @property
    def module(self) -> str:
        return f"zscope.studies.{self.study}.figures.{self.name}"


@dataclass(frozen=True)
class Drawing:
    """A figure as a plan asks for it.

    inputs: the files of each table that it needs, by the table's short name; a list may be empty.
    declared: plain values that it gets beside its tables. group: its place in the report.
    """

    module: FigureModule
    inputs: Mapping[str, Sequence[str]]
    has_intervals: bool
    declared: Mapping[str, Any] = field(default_factory=dict)
    group: str = "Figures"

    @classmethod
    def of(
        cls,
        module: FigureModule,
        tables: Sequence[Table],
        files: Callable[[Table], Sequence[str]],
        declared: Mapping[str, Any] | None = None,
        group: str = "Figures",
    ) -> Drawing:
        """`tables` are all of the study's; `files` gives those of one table for this figure.

        Raises KeyError if the module needs a table that the study does not have.
        """
        by_name = {table.short.upper(): table for table in tables}
        needed = [by_name[name] for name in module.needs]
        return cls(
            module,
            {table.short: list(files(table)) for table in needed},
            any(table.has_interval for table in needed),
            declared or {},
            group,
        )


@cache
def figure_modules(study: str) -> dict[str, FigureModule]:
    """The figures of a study by name, in alphabetical order."""
    found = {}
    for path in sorted((STUDIES / study / "figures").glob("*.py")):
        constants, needs = _read(path)
        if needs is not None:
            found[path.stem] = FigureModule(study, path.stem, needs, constants)
    return found


def read_captions(path: Path) -> dict[str, str]:
    """The captions of a study: reStructuredText below a heading that is the figure's name."""
    parts = re.split(r"^(\w+)\n-+\n", path.read_text("utf-8"), flags=re.M)
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _read(path: Path) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    """A module's constants and, if it is of a figure, the names in its NEEDS."""
    constants, needs = {}, None
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        name = getattr(node.targets[0], "id", "")
        if name == "NEEDS" and isinstance(node.value, ast.Tuple):
            needs = tuple(item.id for item in node.value.elts if isinstance(item, ast.Name))
        elif name.isupper():
            with suppress(ValueError):  # of a computed one, which no plan needs
                constants[name] = ast.literal_eval(node.value)
    return constants, needs
