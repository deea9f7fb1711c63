"""Looking things up in the frames that figures are drawn from."""

from __future__ import annotations

import numpy as np
import pandas as pd


def select(frame: pd.DataFrame, **equal: object) -> pd.DataFrame:
    """The rows whose columns have these values; None stands for null."""
    kept = np.ones(len(frame), dtype=bool)
    for column, value in equal.items():
        same = frame[column].isna() if value is None else (frame[column] == value).fillna(False)
        kept &= same.to_numpy(bool)
    return frame[kept]


def numbers(column: pd.Series) -> np.ndarray:
    """A column as float64, with NaN for null."""
    return column.to_numpy(dtype=float, na_value=np.nan)


def count_seeds(*counts: int, of: str = "") -> str:
    """How many seeds are behind a figure, in words: "n = 3 to 5 seeds per condition." """
    low, high = min(counts, default=0), max(counts, default=0)
    number = f"{low}" if low == high else f"{low} to {high}"
    return f"n = {number} seed{'s' * (high != 1)}{' per ' * bool(of)}{of}."
