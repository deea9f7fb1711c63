"""What the figures of the cross-lingual study are drawn from, and how they look things up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from zscope.figures.frames import numbers, rows_of, select

__all__ = ["Tables", "layers_of", "numbers", "select", "sizes_of"]


@dataclass(frozen=True)
class Tables:
    """The tables of all models of the study, by name, and what was declared before the run.

    frames: table name -> the rows of all models; a table may be missing or empty. cell: the
    verdict's layer, k, kind, design, source, where and direction as plain values (a layer as its
    index, k as a number), position_0, and the gate of a trained model's accuracy (None: not
    trained here).
    """

    frames: Mapping[str, pd.DataFrame]
    cell: Mapping[str, Any]

    def get(self, name: str, **equal: object) -> pd.DataFrame:
        """The rows of a table whose columns have these values; none if the table is missing."""
        return rows_of(self.frames, name, **equal)

    def of_cell(self, *columns: str) -> dict[str, Any]:
        """The declared values of these columns, for `get`."""
        return {column: self.cell[column] for column in columns}

    @cached_property
    def models(self) -> list[str]:
        """Their names, in the order of the tables."""
        columns = [frame["model"] for frame in self.frames.values() if "model" in frame]
        return list(dict.fromkeys(model for column in columns for model in column.unique()))

    @property
    def gate(self) -> float:
        """The least accuracy that a trained model must have; NaN without one."""
        gate = self.cell.get("gate")
        return float("nan") if gate is None else float(gate)

    def count(self, *frames: pd.DataFrame, of: str = "problems") -> str:
        """How many models, and how many problems (column n) lie behind the values of `frames`."""
        models = self.models
        names = ", ".join(models) if len(models) <= 3 else f"{models[0]} to {models[-1]}"
        text = f"n = {len(models)} model{'s' * (len(models) != 1)}" + f" ({names})" * bool(names)
        known = [numbers(f["n"]) for f in frames if "n" in f and len(f)]
        found = sorted({int(v) for values in known for v in values if v == v})
        if not found:
            return f"{text}."
        few, many = found[0], found[-1]
        return f"{text}; {few if few == many else f'{few} to {many}'} {of}."

    def declared(self, *columns: str) -> str:
        """The declared values of these columns, in words."""
        words = {"layer": "layer {}", "k": "k = {}", "kind": "kernel {}", "where": "where {}"}
        return ", ".join(
            words.get(c, f"{c.replace('_', ' ')} {{}}").format(self.cell[c]) for c in columns
        )


def layers_of(frame: pd.DataFrame) -> list[int]:
    return sorted({int(v) for v in frame["layer"].dropna()})


def sizes_of(frame: pd.DataFrame) -> list[int]:
    """The k's of a frame, largest first, as in the protocol."""
    return sorted({int(v) for v in frame["k"].dropna()}, reverse=True)
