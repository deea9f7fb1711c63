"""The tables of the dictionaries part."""

from __future__ import annotations

from zscope.tables.schema import Table

TABLES: tuple[Table, ...] = ()
