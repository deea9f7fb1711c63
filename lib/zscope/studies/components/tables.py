"""The tables of the components study: those of its three parts."""

from __future__ import annotations

from zscope.studies.components.attribution import tables as attribution
from zscope.studies.components.decomposition import tables as decomposition
from zscope.studies.components.dictionaries import tables as dictionaries
from zscope.studies.components.letters import tables as letters
from zscope.tables.schema import Table

PARTS: dict[str, tuple[Table, ...]] = {
    "attribution": attribution.TABLES,
    "dictionaries": dictionaries.TABLES,
    "decomposition": decomposition.TABLES,
    "letters": letters.TABLES,
}
TABLES: tuple[Table, ...] = tuple(table for tables in PARTS.values() for table in tables)
