"""Which fits of lengthscales the figures show: the declared layer, one fit of the grid."""

from __future__ import annotations

import pandas as pd

from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures.lookups import of_cell

INITS = {
    "zeros": "original, from log l = 0",
    "svd_z": "original, from Z",
    "svd_random": "original, from a random space",
}


def nearest_layer(tables: Tables, rows: pd.DataFrame) -> int | None:
    """The declared layer, or the nearest one that was fitted; None without rows."""
    declared = of_cell(tables, "layer")["layer"] or 0
    return min(
        (int(v) for v in rows["layer"].dropna().unique()),
        key=lambda layer: (abs(layer - declared), layer),
        default=None,
    )


def declared_fits(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the original fits the one from Z (else the first) with the middle lambda; all others."""
    grid, others = select(rows, objective="original"), rows[rows["objective"] != "original"]
    if grid.empty:
        return others
    init = "svd_z" if "svd_z" in set(grid["init"]) else grid["init"].iloc[0]
    penalties = sorted(grid["penalty"].unique())
    chosen = select(grid, init=init, penalty=penalties[len(penalties) // 2])
    return pd.concat([part for part in (chosen, others) if len(part)], ignore_index=True)
