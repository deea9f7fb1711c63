"""What the figures of the toy language study are drawn from, and how they look things up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zscope.figures.frames import numbers, rows_of, select

__all__ = [
    "NAMES",
    "REFERENCE",
    "Tables",
    "at_last",
    "conditions_of",
    "count_seeds",
    "grid",
    "labels_of",
    "numbers",
    "of_runs",
    "seeds_of",
    "select",
]

REFERENCE = "reference"  # as zscope.studies.toylang.config, which figures need not import
NAMES = {
    "bigram": "bigram",
    "category": "category",
    "novel": "novel",
    "bracket": "bracket",
    "quote": "quote",
    "context": "context",
    "long_range": "long range",
    "skip": "skip rule",
    "suppress": "suppress",
    "induction": "induction",
    "all": "all",
}
"""Primitives in the order that figures show them in, as words."""


@dataclass(frozen=True)
class Tables:
    """The tables of all conditions of the study, by name; a table may be missing or empty."""

    frames: Mapping[str, pd.DataFrame]

    def get(self, name: str, **equal: object) -> pd.DataFrame:
        """The rows of a table whose columns have these values; none if the table is missing."""
        return rows_of(self.frames, name, **equal)

    def excess(self, condition: str = REFERENCE) -> pd.DataFrame:
        """Excess by primitive at every evaluation, with the column run that `seed_lines` needs."""
        rows = self.get("toylang_training", condition=condition, split="held_out", metric="excess")
        return of_runs(rows)

    def readout(self, readout: str, metric: str, item: str | None = None) -> pd.DataFrame:
        """A number read from the reference's weights at every checkpoint, as `excess`."""
        rows = self.get("toylang_readouts", condition=REFERENCE, readout=readout, metric=metric)
        if item is not None:
            rows = select(rows, item=item)
        return of_runs(rows.assign(ci_low=np.nan, ci_high=np.nan))

    def matrix(self, readout: str) -> pd.DataFrame:
        """The cells of a matrix read from the reference's weights, of all seeds."""
        return self.get("toylang_matrices", condition=REFERENCE, readout=readout)


def of_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column run: condition and seed."""
    return rows.assign(run=rows["condition"].astype(str) + "-s" + rows["seed"].astype(str))


def at_last(rows: pd.DataFrame) -> pd.DataFrame:
    """Of every run, the rows at its last step."""
    if rows.empty:
        return rows
    last = rows.groupby(["condition", "seed"])["step"].transform("max")
    return rows[rows["step"] == last]


def labels_of(frame: pd.DataFrame, column: str = "primitive") -> list[str]:
    """The primitives of a frame, in the order of NAMES; names that it lacks come last."""
    order = {name: i for i, name in enumerate(NAMES)}
    found = set(frame[column].dropna())
    return sorted(found, key=lambda name: (order.get(name, len(order)), name))


def conditions_of(*frames: pd.DataFrame) -> list[str]:
    """The conditions that any of the frames has, the reference first."""
    found = dict.fromkeys(c for frame in frames for c in frame["condition"])
    return sorted(found, key=lambda c: c != REFERENCE)


def seeds_of(*frames: pd.DataFrame) -> list[int]:
    """The seeds that any of the frames has, in order."""
    return sorted({int(seed) for frame in frames for seed in frame["seed"].unique()})


def count_seeds(*frames: pd.DataFrame) -> str:
    """How many seeds lie behind the frames, in words."""
    n = len(seeds_of(*frames))
    return f"n = {n} seed{'s' * (n != 1)}."


def grid(cells: pd.DataFrame, value: str = "value") -> pd.DataFrame:
    """The cells of one matrix as a table, rows and columns in the order that the cells come in."""
    wide = cells.assign(**{value: numbers(cells[value])}).pivot(
        index="row", columns="column", values=value
    )
    return wide.reindex(index=_unique(cells["row"]), columns=_unique(cells["column"]))


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
