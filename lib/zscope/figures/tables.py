"""The tables and values that a figure is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from zscope.config.base import percent
from zscope.figures.frames import select
from zscope.tables.schema import Table


@dataclass(frozen=True)
class Tables:
    """The tables that a figure needs, and the plain values that it gets beside them.

    frames: the rows by the table's name. level: the confidence level of their intervals, for the
    texts; None if no table has an interval. declared: plain values from the study's plan (a sweep's
    name, a cell).
    """

    frames: Mapping[str, pd.DataFrame]
    level: float | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)

    def get(self, table: Table, **equal: object) -> pd.DataFrame:
        """The rows of a table whose columns have these values; none if it has no file."""
        frame = self.frames.get(table.name)
        if frame is None:
            frame = pd.DataFrame(columns=[c.name for c in table.columns])
        return select(frame, **equal)

    @property
    def percent(self) -> str:
        """The level of the intervals as text. Raises ValueError if no table has an interval."""
        if self.level is None:
            raise ValueError("none of the figure's tables has an interval")
        return percent(self.level)
