"""Reading and writing Parquet tables: whole or not at all, with checksums and provenance.

Tables are long: one row a measurement. Their schemas are in zscope.schemas; docs/tables.md is
generated from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zscope.errors import TableError, rebuild
from zscope.files import atomic_path
from zscope.schemas.base import INT, Table

PROVENANCE = b"zscope.provenance"
DIGEST = b"zscope.sha256"  # of the provenance
TABLE = b"zscope.table"
STUDIES = ("lag", "toylang", "crosslingual")


class Tables(Mapping[str, Table]):
    """Every table by its name, whose first word is its study.

    A study's module is imported when one of its tables is asked for, under a computed name: so the
    code of a job holds the schemas of its own study alone (the rules name them), and a new column
    of one study leaves the results of the others as they are.
    """

    def __getitem__(self, name: str) -> Table:
        study = name.partition("_")[0]
        if study not in STUDIES:
            raise KeyError(name)
        return _declared(study)[name]

    def __iter__(self) -> Iterator[str]:
        for study in STUDIES:
            yield from _declared(study)

    def __len__(self) -> int:
        return sum(len(_declared(study)) for study in STUDIES)


def _declared(study: str) -> dict[str, Table]:
    return import_module(f"zscope.schemas.{study}").TABLES


TABLES = Tables()


def write_table(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    path: str | Path,
    name: str,
    provenance: Mapping[str, Any],
) -> None:
    """Write `rows` as table `name`, whole or not at all, sorted by nothing: in the order given.

    The bytes depend on the rows and the provenance alone. Raises TableError if a column is missing,
    unknown, of another type, null where it may not be, or if two rows have the same key.
    """
    table = TABLES[name]
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    names = [c.name for c in table.columns]
    if frame.empty:
        frame = pd.DataFrame({n: [] for n in names})
    missing, unknown = set(names) - set(frame.columns), set(frame.columns) - set(names)
    if missing or unknown:
        raise TableError(
            f"{path}: table {name} has other columns than its schema "
            f"(missing: {sorted(missing)}, unknown: {sorted(unknown)})"
        )
    frame = frame[names]
    for c in table.columns:
        if not c.nullable and frame[c.name].isna().any():
            raise TableError(f"{path}: column {c.name} of table {name} holds a null or NaN")
    try:
        arrow = pa.Table.from_pandas(frame, table.schema, preserve_index=False, safe=True)
    except (pa.ArrowException, OverflowError) as error:
        raise TableError(f"{path}: table {name}: {error}") from None
    if table.key and frame.duplicated(list(table.key)).any():
        twice = frame.loc[frame.duplicated(list(table.key)), list(table.key)].iloc[0].to_dict()
        raise TableError(f"{path}: table {name} has two rows with {twice}")
    text = json.dumps(dict(provenance), sort_keys=True).encode()
    metadata = {
        TABLE: name.encode(),
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


def read_table(path: str | Path, name: str) -> pd.DataFrame:
    """Read table `name`; nullable integers come back as Int64.

    Raises TableError, with the command that rebuilds the file, if it is missing or damaged.
    """

    def read(file: Path) -> pd.DataFrame:
        arrow = pq.read_table(file, partitioning=None, page_checksum_verification=True)
        found = arrow.schema.remove_metadata()
        if not found.equals(TABLES[name].schema):
            raise TableError(
                f"{path}: not a {name} table of this version: its columns are {found.names}\n"
                f"{rebuild(path)}"
            )
        return arrow.to_pandas(integer_object_nulls=True)

    frame = _open(path, read)
    for c in TABLES[name].columns:
        if c.nullable and c.type == INT:
            frame[c.name] = frame[c.name].astype("Int64")
    return frame


def read_tables(inputs: Mapping[str, str | Sequence[str]]) -> dict[str, pd.DataFrame]:
    """The tables that a job's inputs name: a path, or paths whose rows follow each other.

    A table without any path is left out. Raises TableError as `read_table`.
    """
    frames = {}
    for name, paths in inputs.items():
        found = [read_table(p, name) for p in ([paths] if isinstance(paths, str) else paths)]
        if found:
            frames[name] = pd.concat(found, ignore_index=True)
    return frames


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The provenance that `write_table` put into the file. Raises TableError as read_table."""

    def read(file: Path) -> dict[str, Any]:
        metadata = pq.read_schema(file).metadata or {}
        text = metadata.get(PROVENANCE, b"")
        # Parquet's checksums are of the data pages alone.
        if metadata.get(DIGEST, b"") != sha256(text).hexdigest().encode():
            raise ValueError("its provenance has changed")
        return json.loads(text)

    return _open(path, read)


def table_name(path: str | Path) -> str:
    """The name of the table that a file holds. Raises TableError as read_table."""
    metadata = _open(path, lambda p: pq.read_schema(p)).metadata or {}
    name = metadata.get(TABLE, b"").decode()
    if name not in TABLES:
        raise TableError(f"{path}: not a table of zscope")
    return name


def _open(path: str | Path, reader: Any) -> Any:
    if not Path(path).exists():
        raise TableError(f"{path}: no such file\n{rebuild(path)}")
    try:
        return reader(Path(path))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0][:160]
        raise TableError(f"{path}: damaged, cannot be read ({first})\n{rebuild(path)}") from None
