"""Looking things up in the frames that figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from zscope.tables import TABLES


def select(frame: pd.DataFrame, **equal: object) -> pd.DataFrame:
    """The rows whose columns have these values."""
    kept = np.ones(len(frame), dtype=bool)
    for column, value in equal.items():
        kept &= (frame[column] == value).fillna(False).to_numpy(bool)
    return frame[kept]


def numbers(column: pd.Series) -> np.ndarray:
    """A column as float64, with NaN for null."""
    return column.to_numpy(dtype=float, na_value=np.nan)


def rows_of(frames: Mapping[str, pd.DataFrame], name: str, **equal: object) -> pd.DataFrame:
    """The rows of a table whose columns have these values; none if the table is missing."""
    frame = frames.get(name)
    if frame is None:
        frame = pd.DataFrame(columns=[c.name for c in TABLES[name].columns])
    return select(frame, **equal)
