"""Which fits of lengthscales the figures show: the declared layer, and one of the protocol's grid."""

from __future__ import annotations

import pandas as pd

from zscope.studies.crosslingual.figures.lookups import Tables, select

INITS = {
    "zeros": "seed, from log l = 0",
    "svd_z": "seed, from Z",
    "svd_random": "seed, from a random space",
}


def nearest_layer(tables: Tables, rows: pd.DataFrame) -> int | None:
    """The declared layer, or the nearest one that was fitted; None without rows."""
    declared = int(tables.cell["layer"])
    return min(
        (int(v) for v in rows["layer"].dropna().unique()),
        key=lambda layer: (abs(layer - declared), layer),
        default=None,
    )


def declared_fits(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the protocol's fits the one from Z (else the first) with the middle lambda; all others."""
    seeds, others = select(rows, objective="original"), rows[rows["objective"] != "seed"]
    if seeds.empty:
        return others
    init = "svd_z" if "svd_z" in set(seeds["init"]) else seeds["init"].iloc[0]
    penalties = sorted(seeds["penalty"].unique())
    chosen = select(seeds, init=init, penalty=penalties[len(penalties) // 2])
    return pd.concat([part for part in (chosen, others) if len(part)], ignore_index=True)
