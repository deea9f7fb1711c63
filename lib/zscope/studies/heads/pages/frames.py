"""What a page must know of the frames that it is made of."""

from __future__ import annotations

import pandas as pd

from zscope.core.errors import DataError
from zscope.tables.schema import Table


def checked(frame: pd.DataFrame, table: Table, *, by_key: bool = True) -> pd.DataFrame:
    """The frame, which must have the table's columns and be of one model at most.

    Raises DataError, in one line, if it is not so, or, unless `by_key` is false, if two rows have
    the same key.
    """
    missing = [c.name for c in table.columns if c.name not in frame.columns]
    if missing:
        raise DataError(f"page: the frame of {table.name} has no column {', '.join(missing)}")
    for name in ("subject", "model"):
        if frame[name].nunique() > 1:
            several = ", ".join(sorted(frame[name].unique()))
            raise DataError(f"page: {table.name} is of several {name}s: {several}; give one's")
    if by_key and frame.duplicated(list(table.key)).any():
        twice = frame.loc[frame.duplicated(list(table.key)), list(table.key)].iloc[0].to_dict()
        raise DataError(f"page: the frame of {table.name} has two rows with {twice}")
    return frame
