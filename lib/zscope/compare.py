"""Where two results agree: `python -m zscope.show --compare A B [TABLE]`, of folders or of files.

A rerun on one machine gives the same bytes, so this is for results from two machines, or of two
versions of the code. The rows of a table are matched by its key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zscope.core.errors import TableError
from zscope.results import read_file, tables
from zscope.studies.registry import all_tables
from zscope.tables.schema import FLOAT, INT, Column, Table

RELATIVE, ABSOLUTE = 1e-6, 1e-9
"""Numbers agree within rounding if they differ by at most RELATIVE of the second, plus ABSOLUTE."""

SAME = "the same"
WITHIN = "within their intervals"
UNJUDGED = "differ without an interval"
BEYOND = "beyond their intervals"
VERDICT = "another verdict"
ONLY_A, ONLY_B = "only in A", "only in B"
OUTCOMES = (SAME, WITHIN, UNJUDGED, BEYOND, VERDICT, ONLY_A, ONLY_B)
"""What a row can be. Only BEYOND and VERDICT are disagreements."""

IN_A, IN_B = " A", " B"  # suffixes of the columns of matched rows


@dataclass(frozen=True, eq=False)
class Comparison:
    """A table in two results.

    name: its path in both. rows: as `compare_rows`. settings: whether both were made from the same
    part of the config.
    """

    name: str
    table: Table
    rows: pd.DataFrame
    settings: bool = True

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each outcome that there is."""
        found = self.rows.outcome.value_counts()
        return {outcome: int(found[outcome]) for outcome in OUTCOMES if outcome in found}

    @property
    def agrees(self) -> bool:
        return not {BEYOND, VERDICT} & set(self.counts)

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {outcome}" for outcome, n in self.counts.items())
        note = "" if self.settings else " (made from other settings)"
        return f"{self.name}: {counts or 'no rows'}{note}"

    def details(self) -> Iterator[str]:
        """A line for every row that is not the same: its key, and both values of what differs."""
        for row in self.rows[self.rows.outcome != SAME].to_dict("records"):
            key = ", ".join(f"{k}={_shown(row[k])}" for k in self.table.key if not _null(row[k]))
            line = f"  {row['outcome']}: {key}"
            if row["outcome"] not in (ONLY_A, ONLY_B):
                line += ": " + "; ".join(_both(row, self.table))
            yield line


# --- rows --------------------------------------------------------------------------------------


def estimate(table: Table) -> str | None:
    """The column whose interval is ci_low to ci_high, None in a table without one: the first number
    that is no key."""
    if "ci_low" not in {c.name for c in table.columns}:
        return None
    return next(c.name for c in table.columns if c.type == FLOAT and c.name not in table.key)


def verdicts(table: Table) -> list[str]:
    """The columns that hold the word of a verdict."""
    return [c.name for c in table.columns if c.name.endswith("verdict")]


def compare_rows(first: pd.DataFrame, second: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The rows of both frames, matched by the table's key, in the order of the first.

    Columns: those of the key; each other one twice, with the suffixes IN_A and IN_B; differs, the
    names of those that differ; outcome. A row has the last of these outcomes that is true:

    SAME: all columns agree, numbers within rounding. UNJUDGED: some do not, and no interval says
    how much that is. WITHIN: the estimates or their intervals differ, and the intervals overlap, or
    the one that there is holds the other's estimate. BEYOND: the intervals do not overlap; or one
    estimate is null, and the other's interval is closed. VERDICT: the words differ. ONLY_A, ONLY_B:
    the other has no such row.

    An end that is null beside one that is not is open: it lies beyond what was measured.
    """
    sides = []
    for frame, suffix in ((first, IN_A), (second, IN_B)):
        renamed = {c.name: c.name + suffix for c in table.columns if c.name not in table.key}
        sides.append(frame.rename(columns=renamed).assign(**{"row" + suffix: range(len(frame))}))
    rows = sides[0].merge(sides[1], on=list(table.key), how="outer", indicator="side")
    rows = rows.sort_values(["row" + IN_A, "row" + IN_B], ignore_index=True)
    measured = [c for c in table.columns if c.name not in table.key]
    differ = {c.name: ~_agree(rows, c) for c in measured}
    within, beyond = _judged(rows, table, differ)
    conditions: dict[str, Any] = {
        ONLY_A: rows.side == "left_only",
        ONLY_B: rows.side == "right_only",
        VERDICT: _any(rows, [differ[name] for name in verdicts(table)]),
        BEYOND: beyond,
        WITHIN: within,
        UNJUDGED: _any(rows, list(differ.values())),
    }
    names, flags = list(differ), zip(*differ.values(), strict=True)
    return rows.drop(columns=["row" + IN_A, "row" + IN_B, "side"]).assign(
        differs=pd.Series([list(compress(names, row)) for row in flags], dtype=object),
        outcome=np.select(list(conditions.values()), list(conditions), SAME),
    )


def _any(rows: pd.DataFrame, flags: list[np.ndarray]) -> np.ndarray:
    return np.logical_or.reduce(flags) if flags else np.zeros(len(rows), bool)


def _agree(rows: pd.DataFrame, column: Column) -> np.ndarray:
    """Whether the column is the same on both sides; null is the same as null."""
    a, b = rows[column.name + IN_A], rows[column.name + IN_B]
    if column.type in (FLOAT, INT):
        return _close(_numbers(a), _numbers(b))
    return ((a == b) | (a.isna() & b.isna())).to_numpy(bool)


def _numbers(values: pd.Series) -> np.ndarray:
    return values.to_numpy(float, na_value=np.nan)


def _close(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.isclose(a, b, RELATIVE, ABSOLUTE, equal_nan=True)


def _judged(
    rows: pd.DataFrame, table: Table, differ: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the estimates of each row differ within their intervals; and beyond them."""
    name = estimate(table)
    if name is None:
        return np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    moved = differ[name] | differ["ci_low"] | differ["ci_high"]
    value, low, high, interval, closed = [], [], [], [], []
    for side in (IN_A, IN_B):
        ends = [_numbers(rows[end + side]) for end in ("ci_low", "ci_high")]
        value.append(_numbers(rows[name + side]))
        interval.append(~np.isnan(ends).all(0))
        closed.append(~np.isnan(ends).any(0))
        low.append(np.where(np.isnan(ends[0]), -np.inf, ends[0]))
        high.append(np.where(np.isnan(ends[1]), np.inf, ends[1]))
    start, end = np.maximum(*low), np.minimum(*high)
    overlap = interval[0] & interval[1] & ((start <= end) | _close(start, end))
    one_null = np.isnan(value[0]) != np.isnan(value[1])
    holds = np.zeros(len(rows), bool)  # whether the only interval holds the other's estimate
    lost = np.zeros(len(rows), bool)  # whether it is closed, and the other's estimate null
    for mine, other in ((0, 1), (1, 0)):
        alone = interval[mine] & ~interval[other]
        inside = (low[mine] <= value[other]) & (value[other] <= high[mine])
        missing = one_null & np.isnan(value[other])
        holds |= alone & (inside | (missing & ~closed[mine]))
        lost |= alone & missing & closed[mine]
    apart = interval[0] & interval[1] & ~overlap
    return moved & (overlap | holds), moved & (apart | lost)


# --- files and folders -------------------------------------------------------------------------


def compare_files(first: str | Path, second: str | Path, name: str = "") -> Comparison:
    """Two files of one table. Raises TableError if they are not."""
    a, b = read_file(first), read_file(second)
    if a.attrs["table"] != b.attrs["table"]:
        both = f"{a.attrs['table']} and {b.attrs['table']}"
        raise TableError(f"{first} and {second} hold two tables, {both}")
    table = all_tables()[a.attrs["table"]]
    settings = (frame.attrs["provenance"].get("slice") for frame in (a, b))
    same = next(settings) == next(settings)
    return Comparison(name or str(second), table, compare_rows(a, b, table), same)


def compare_folders(
    first: str | Path, second: str | Path, table: str | None = None
) -> Iterator[Comparison]:
    """Every table that two results folders have (or the folders above them), timings left out.

    table: the name of a table, or its path in the folders, to compare this one alone. Raises
    TableError if a folder is missing, a file damaged, or if there is nothing to compare.
    """
    roots = [_results(first), _results(second)]
    listed = [dict(zip(found.path, found.name, strict=True)) for found in map(tables, roots)]
    chosen = (table or "").removeprefix("results/").removesuffix(".parquet")
    known = all_tables()
    paths = [
        path
        for path, name in listed[0].items()
        if path in listed[1] and known[name].short != "timing" and chosen in ("", path, name)
    ]
    if not paths:
        what = f"no table {table}" if table else "no table"
        raise TableError(f"{roots[0]} and {roots[1]}: {what} is in both")
    for path in paths:
        yield compare_files(roots[0] / f"{path}.parquet", roots[1] / f"{path}.parquet", path)


def only_one(first: str | Path, second: str | Path) -> Iterator[str]:
    """A line for every table that one of two results folders lacks."""
    there = [set(tables(_results(folder)).path) for folder in (first, second)]
    for path in sorted(there[0] ^ there[1]):
        yield f"{path}: {ONLY_A if path in there[0] else ONLY_B}"


def _results(folder: str | Path) -> Path:
    inside = Path(folder, "results")
    return inside if inside.is_dir() else Path(folder)


def report(first: str, second: str, table: str | None = None, verbose: bool = False) -> int:
    """Print the comparison: a line per table, with every row that differs if `verbose` or for a
    single table. Returns 1 if a table differs beyond its intervals or in a verdict, else 0.

    Raises TableError as `compare_folders`.
    """
    files = Path(first).is_file() and Path(second).is_file()
    found = [compare_files(first, second)] if files else compare_folders(first, second, table)
    agree = []
    for comparison in found:
        print(comparison)
        if verbose or files or table:
            for line in comparison.details():
                print(line)
        agree.append(comparison.agrees)
    if not files and not table:
        for line in only_one(first, second):
            print(line)
    beyond = agree.count(False) or "none"
    print(f"compared: {len(agree)}; beyond the intervals or with another verdict: {beyond}")
    return 0 if all(agree) else 1


# --- words -------------------------------------------------------------------------------------


def _null(value: Any) -> bool:
    return value is None or value is pd.NA or value != value


def _shown(value: Any) -> str:
    if _null(value):
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())[:80]


def _both(row: Mapping[Any, Any], table: Table) -> Iterator[str]:
    """ "value 0.31 [0.25, 0.37] | 0.4 [0.33, 0.48]", for every column that differs."""
    name = estimate(table)
    of_estimate = () if name is None else (name, "ci_low", "ci_high")
    if set(of_estimate) & set(row["differs"]):
        shown = []
        for side in (IN_A, IN_B):
            value, low, high = (_shown(row[column + side]) for column in of_estimate)
            shown.append(f"{value} [{low}, {high}]")
        yield f"{name} {' | '.join(shown)}"
    for column in row["differs"]:
        if column not in of_estimate:
            yield f"{column} {_shown(row[column + IN_A])} | {_shown(row[column + IN_B])}"
