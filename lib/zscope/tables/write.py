"""Writing tables: complete or not at all, checked by their schema, with checksums and provenance.

Tables are in long format, one row per measurement. A study's `tables.py` declares its tables;
docs/tables.md is generated from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zscope.core.errors import TableError
from zscope.core.files import atomic_path
from zscope.tables.files import DIGEST, PROVENANCE, TABLE, arrow_schema
from zscope.tables.schema import INT, Table


def write_table(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    path: str | Path,
    table: Table,
    provenance: Mapping[str, Any],
) -> None:
    """Write `rows` as `table`, complete or not at all, in the given order.

    The bytes depend only on the rows and the provenance. Raises TableError if a column is missing,
    unknown, of another type, or null where it must not be, or if two rows have the same key.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    names = [c.name for c in table.columns]
    if frame.empty:
        frame = pd.DataFrame({n: [] for n in names})
    missing, unknown = set(names) - set(frame.columns), set(frame.columns) - set(names)
    if missing or unknown:
        raise TableError(
            f"{path}: table {table.name} has other columns than its schema "
            f"(missing: {sorted(missing)}, unknown: {sorted(unknown)})"
        )
    frame = frame[names]
    for c in table.columns:
        if not c.nullable and frame[c.name].isna().any():
            raise TableError(f"{path}: column {c.name} of table {table.name} holds a null or NaN")
    counts = {c.name: "Int64" for c in table.columns if c.nullable and c.type == INT}
    try:
        frame = frame.astype(counts)
        arrow = pa.Table.from_pandas(frame, arrow_schema(table), preserve_index=False, safe=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise TableError(f"{path}: table {table.name}: {error}") from None
    if table.key and frame.duplicated(list(table.key)).any():
        twice = frame.loc[frame.duplicated(list(table.key)), list(table.key)].iloc[0].to_dict()
        raise TableError(f"{path}: table {table.name} has two rows with {twice}")
    text = json.dumps(dict(provenance), sort_keys=True).encode()
    metadata = {
        TABLE: table.name.encode(),
        PROVENANCE: text,
        DIGEST: sha256(text).hexdigest().encode(),
    }
    with atomic_path(Path(path)) as temporary:
        pq.write_table(
            arrow.replace_schema_metadata(metadata),
            temporary,
            compression="zstd",
            write_page_checksum=True,
        )


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a frame for people to read, whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        frame.to_csv(temporary, index=False)
