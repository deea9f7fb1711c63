"""What the figures look up in the tables of the heads study."""

from __future__ import annotations

import numpy as np
import pandas as pd

from zscope.figures.frames import numbers, select
from zscope.studies.heads.tables import ALL_MODELS

REPORTED = ("first", "self", "end_to_io", "end_to_s1")
"""Detectors that name nobody."""


def first_model(scores: pd.DataFrame) -> str:
    """The model that is shown of several."""
    return str(scores["model"].iloc[0])


def asked(scores: pd.DataFrame) -> list[str]:
    """The detectors that may name heads, in the order of the table."""
    return [d for d in scores["detector"].unique() if d not in REPORTED]


def naming_rows(scores: pd.DataFrame, model: str, detector: str) -> pd.DataFrame:
    """The rows by which a detector names heads: of its first stream, and the weights that name."""
    rows = select(scores, model=model, detector=detector)
    if rows.empty:
        return rows
    return rows[(rows["stream"] == rows["stream"].iloc[0]) & rows["names"].astype(bool)]


def grid(rows: pd.DataFrame, column: str) -> np.ndarray:
    """A column as layers x heads; NaN where there is no row."""
    shape = int(rows["layer"].max()) + 1, int(rows["head"].max()) + 1
    found = np.full(shape, np.nan)
    found[rows["layer"].to_numpy(int), rows["head"].to_numpy(int)] = numbers(rows[column])
    return found


def word_of(verdicts: pd.DataFrame, subject: str, detector: str) -> str:
    """The verdict over the models of a subject, with the tally if they differ."""
    rows = select(verdicts, subject=subject, model=ALL_MODELS, detector=detector)
    if rows.empty:
        return "no verdict"
    return str(rows["verdict"].iloc[0])
