"""Shared by reading and writing tables: Arrow schemas, and the keys of a file's metadata."""

from __future__ import annotations

import pyarrow as pa

from zscope.tables.schema import Table

PROVENANCE = b"zscope.provenance"
DIGEST = b"zscope.sha256"  # of the provenance
TABLE = b"zscope.table"
ARROW = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_()}


def arrow_schema(table: Table) -> pa.Schema:
    return pa.schema([pa.field(c.name, ARROW[c.type], c.nullable) for c in table.columns])
