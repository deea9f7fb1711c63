"""The tables of the decomposition part."""

from __future__ import annotations

from zscope.tables.schema import Table

TABLES: tuple[Table, ...] = ()
