"""How the figures of the study look things up: the declared cell, the models, how many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from zscope.figures.frames import numbers
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.tables import SIZES

CELL = ("layer", "k", "kind", "design", "source", "where", "position_0", "direction")
WORDS = {"layer": "layer {}", "k": "k = {}", "kind": "kernel {}", "where": "where {}"}


def of_cell(tables: Tables, *columns: str) -> dict[str, Any]:
    """The declared values of these columns; layer and k as numbers, null without a table of sizes.

    All models of a study have one shape.
    """
    found = {column: tables.declared.get(column) for column in columns}
    for size in {"layer", "k"} & {*columns}:
        values = tables.get(SIZES, size=size, given=found[size])["value"]
        found[size] = int(values.iloc[0]) if len(values) else None
    return found


def cell_of(tables: Tables) -> dict[str, Any]:
    """The whole declared cell."""
    return of_cell(tables, *CELL)


def in_words(tables: Tables, *columns: str) -> str:
    """The declared values of these columns."""
    values = of_cell(tables, *columns).items()
    return ", ".join(WORDS.get(c, f"{c.replace('_', ' ')} {{}}").format(v) for c, v in values)


def models_of(tables: Tables) -> list[str]:
    """The models' names, in the order of the tables."""
    columns = [frame["model"] for frame in tables.frames.values() if "model" in frame]
    return list(dict.fromkeys(model for column in columns for model in column.unique()))


def gate_of(tables: Tables) -> float:
    """The least accuracy that a trained model must have; NaN without one."""
    gate = tables.declared.get("gate")
    return float("nan") if gate is None else float(gate)


def count(tables: Tables, *frames: pd.DataFrame, of: str = "problems") -> str:
    """How many models, and how many problems (column n) are behind the values of `frames`."""
    models = models_of(tables)
    names = ", ".join(models) if len(models) <= 3 else f"{models[0]} to {models[-1]}"
    text = f"n = {len(models)} model{'s' * (len(models) != 1)}" + f" ({names})" * bool(names)
    known = [v for f in frames if "n" in f and len(f) for v in numbers(f["n"])]
    found = of_range(known)
    return f"{text}; {found} {of}." if found else f"{text}."


def of_range(values: Iterable[float], unit: str = "") -> str:
    """Whole numbers from the least to the largest, in words: "1 draw", "2 to 40 draws"; "" without
    any. unit: of one; NaN is left out."""
    found = sorted({int(v) for v in values if v == v})
    if not found:
        return ""
    few, many = found[0], found[-1]
    text = f"{few}" if few == many else f"{few} to {many}"
    return f"{text} {unit}{'s' * (many != 1)}" if unit else text


def draws_of(frame: pd.DataFrame) -> str:
    """How many draws are behind the nulls of a frame: "40 draws", or "no draws"."""
    return of_range(numbers(frame["draws"]), "draw") or "no draws"


def layers_of(frame: pd.DataFrame) -> list[int]:
    return sorted({int(v) for v in frame["layer"].dropna()})


def ks_of(frame: pd.DataFrame) -> list[int]:
    """The k's of a frame, largest first, as in the protocol."""
    return sorted({int(v) for v in frame["k"].dropna()}, reverse=True)
