"""Look-ups that the figures of the toy language study share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.tables import MATRICES, READOUTS, REFERENCE, TRAINING

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
"""Primitives as words, in the order in which figures show them."""


def excess(tables: Tables, condition: str = REFERENCE) -> pd.DataFrame:
    """Excess by primitive at every evaluation, with the column run that `seed_lines` needs."""
    return of_runs(tables.get(TRAINING, condition=condition, split="held_out", metric="excess"))


def readout(tables: Tables, name: str, metric: str, **equal: object) -> pd.DataFrame:
    """A number read from the reference's weights at every checkpoint, as for `seed_lines`."""
    rows = tables.get(READOUTS, condition=REFERENCE, readout=name, metric=metric, **equal)
    return of_runs(rows.assign(ci_low=np.nan, ci_high=np.nan))


def last_readout(tables: Tables, name: str, metric: str, **equal: object) -> pd.DataFrame:
    """The `readout` at the last checkpoint of every run."""
    return at_last(readout(tables, name, metric, **equal))


def matrix(tables: Tables, name: str, **equal: object) -> pd.DataFrame:
    """The cells of a matrix read from the reference's weights, of all seeds."""
    return tables.get(MATRICES, condition=REFERENCE, readout=name, **equal)


def of_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column run: condition and seed."""
    return rows.assign(run=rows["condition"].astype(str) + "-s" + rows["seed"].astype(str))


def at_last(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the last step of every run."""
    if rows.empty:
        return rows
    last = rows.groupby(["condition", "seed"])["step"].transform("max")
    return rows[rows["step"] == last]


def labels_of(frame: pd.DataFrame, column: str = "primitive") -> list[str]:
    """The primitives of a frame in the order of NAMES; unknown names come last."""
    order = {name: i for i, name in enumerate(NAMES)}
    found = set(frame[column].dropna())
    return sorted(found, key=lambda name: (order.get(name, len(order)), name))


def conditions_of(frame: pd.DataFrame) -> list[str]:
    """The conditions of a frame, the reference first."""
    return sorted(dict.fromkeys(frame["condition"]), key=lambda c: c != REFERENCE)


def seeds_of(*frames: pd.DataFrame) -> list[int]:
    """The seeds of the frames together, in order."""
    return sorted({int(seed) for frame in frames for seed in frame["seed"].unique()})


def seeds_text(*frames: pd.DataFrame) -> str:
    """How many seeds are behind the frames, in words."""
    return count_seeds(len(seeds_of(*frames)))


def matrices_of_runs(cells: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """A matrix by primitive for every condition and seed. Columns row, column and value."""
    found = {}
    for condition in conditions_of(cells):
        own = select(cells, condition=condition)
        for seed in seeds_of(own):
            of_run = select(own, seed=seed)
            shown = grid(of_run)[labels_of(of_run, "column")]
            found[condition, seed] = shown.rename(columns=NAMES)
    return found


def grid(cells: pd.DataFrame, value: str = "value") -> pd.DataFrame:
    """The cells of one matrix as a table, with rows and columns in the order of the cells."""
    wide = cells.assign(**{value: numbers(cells[value])}).pivot(
        index="row", columns="column", values=value
    )
    rows, columns = (list(dict.fromkeys(cells[name])) for name in ("row", "column"))
    return wide.reindex(index=rows, columns=columns)
