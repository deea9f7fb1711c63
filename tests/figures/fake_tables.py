"""Frames of planted rows, as the workflow would have written them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from zscope.tables.schema import FLOAT, INT, Table


def frame(table: Table, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A table with all of its columns; what a row does not name is null."""
    columns = {c.name: c for c in table.columns}
    rows = list(rows)
    for row in rows:
        assert not set(row) - set(columns), (table.name, set(row) - set(columns))
    out = pd.DataFrame(rows, columns=list(columns))
    for c in columns.values():
        if c.type == INT:
            out[c.name] = out[c.name].astype("Int64" if c.nullable else "int64")
        elif c.type == FLOAT:
            out[c.name] = out[c.name].astype(float)
    return out
