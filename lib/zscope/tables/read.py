"""Reading tables. A missing, damaged or outdated one is an error that names the way out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zscope.core.errors import TableError, rebuild
from zscope.tables.files import DIGEST, PROVENANCE, TABLE, arrow_schema
from zscope.tables.schema import INT, Table


def read_table(path: str | Path, table: Table) -> pd.DataFrame:
    """Read a table; nullable integers come back as Int64.

    Raises TableError, with the command that rebuilds the file, if it is missing or damaged.
    """

    def read(file: Path) -> pd.DataFrame:
        arrow = pq.read_table(file, partitioning=None, page_checksum_verification=True)
        found = arrow.schema.remove_metadata()
        if not found.equals(arrow_schema(table)):
            raise TableError(
                f"{path}: not a {table.name} table of this version: its columns are {found.names}\n"
                f"{rebuild(path)}"
            )
        return arrow.to_pandas(integer_object_nulls=True)

    frame = _open(path, read)
    return frame.astype({c.name: "Int64" for c in table.columns if c.nullable and c.type == INT})


def read_tables(paths: Iterable[str | Path], table: Table) -> pd.DataFrame:
    """The rows of several files of one table, in the order of the files; no rows without files.

    Raises TableError as `read_table`.
    """
    found = [read_table(path, table) for path in paths]
    if not found:
        return pd.DataFrame(columns=[c.name for c in table.columns])
    return pd.concat(found, ignore_index=True)


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The provenance that `write_table` stored in the file. Raises TableError as read_table."""

    def read(file: Path) -> dict[str, Any]:
        metadata = pq.read_schema(file).metadata or {}
        text = metadata.get(PROVENANCE, b"")
        # Parquet's checksums cover only the data pages.
        if metadata.get(DIGEST, b"") != sha256(text).hexdigest().encode():
            raise ValueError("its provenance has changed")
        return json.loads(text)

    return _open(path, read)


def table_name(path: str | Path) -> str:
    """The name of the table in a file, or "" without one. Raises TableError as read_table."""
    metadata = _open(path, lambda p: pq.read_schema(p)).metadata or {}
    return metadata.get(TABLE, b"").decode()


def _open(path: str | Path, reader: Any) -> Any:
    if not Path(path).exists():
        raise TableError(f"{path}: no such file\n{rebuild(path)}")
    if Path(path).is_dir():
        raise TableError(f"{path}: a folder, not a table; {_tables_in(Path(path))}")
    try:
        return reader(Path(path))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0][:160]
        raise TableError(f"{path}: damaged, cannot be read ({first})\n{rebuild(path)}") from None


def _tables_in(folder: Path) -> str:
    """The first tables in a folder, in words."""
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.parquet"))
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f"in it there are {', '.join(found[:8])}{more}" if found else "no table is in it"
