"""What the overview shows of a results folder: answers, figures, tables, costs. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from zscope.pages.answers import Answer, Answers
from zscope.studies.registry import TITLES, all_tables
from zscope.tables.read import read_table
from zscope.tables.schema import Table

FIRST_ROWS = 6
"""Rows of a table that are shown."""


@dataclass(frozen=True)
class FigureEntry:
    """A figure of the run. path: of its PNG, below the results folder."""

    name: str
    group: str
    caption: str
    path: Path


@dataclass(frozen=True, eq=False)
class TableEntry:
    """A table of the run: the files that there are, and the first rows of the first one."""

    table: Table
    files: Sequence[Path]
    rows: int
    first: pd.DataFrame


@dataclass(frozen=True, eq=False)
class StudyEntry:
    """A study of the run."""

    name: str
    question: str
    headline: FigureEntry | None
    answers: Sequence[Answer]
    figures: Sequence[FigureEntry]
    tables: Sequence[TableEntry]
    pages: Sequence[Path]

    @property
    def title(self) -> str:
        return TITLES[self.name]


@dataclass(frozen=True, eq=False)
class Contents:
    """The whole page.

    Attributes:
        studies: in the order of the registry.
        costs: by rule: jobs, CPU-seconds, seconds, the largest peak of memory in MiB.
        config: as YAML.
        facts: what identifies the run: versions, the digest of the code.
        not_run: what the config leaves out, or a study skipped, and why.
    """

    studies: Sequence[StudyEntry]
    costs: pd.DataFrame
    config: str
    facts: Mapping[str, str]
    not_run: Sequence[tuple[str, str]] = field(default=())


def answers_of(study: str) -> Answers:
    """`ANSWERS` of a study."""
    found: Answers = import_module(f"zscope.studies.{study}.answers").ANSWERS
    return found


def read_study(
    results: Path, name: str, figures: Sequence[Mapping[str, Any]], pages: Sequence[str]
) -> StudyEntry:
    """figures: name, group and caption of each. pages: paths of its HTML pages.

    Raises TableError for a damaged table.
    """
    of = answers_of(name)
    drawn = results / "figures" / name
    entries = [
        FigureEntry(f["name"], f["group"], f["caption"], drawn / f"{f['name']}.png")
        for f in figures
    ]
    rows = [read_table(path, of.table) for path in files_of(results, of.table)]
    return StudyEntry(
        name,
        of.question,
        next((f for f in entries if f.name == of.headline), None),
        list(of.read(pd.concat(rows, ignore_index=True))) if rows else [],
        entries,
        [entry for t in _tables(name) if (entry := read_entry(results, t)) is not None],
        [Path(page) for page in pages],
    )


def read_entry(results: Path, table: Table) -> TableEntry | None:
    """None where there is no file of it."""
    files = files_of(results, table)
    if not files:
        return None
    n = sum(pq.read_metadata(file).num_rows for file in files)
    return TableEntry(table, files, n, read_table(files[0], table).head(FIRST_ROWS))


def files_of(results: Path, table: Table) -> list[Path]:
    """Its files in a results folder, sorted."""
    wildcards = dict.fromkeys(table.wildcards, "*")
    pattern = table.path.format(**wildcards)
    return sorted(results.parent.glob(pattern.replace("results/", f"{results.name}/", 1)))


def _tables(study: str) -> list[Table]:
    return [table for table in all_tables().values() if table.study == study]


def read_costs(results: Path) -> pd.DataFrame:
    """What each rule cost, from the benchmarks that Snakemake writes; most CPU first."""
    found: list[dict[str, Any]] = []
    for file in sorted((results / "benchmarks").rglob("*.tsv")):
        rule = file.relative_to(results / "benchmarks").parts[0]
        found += ({"rule": rule, **row} for row in _numbers(file))
    columns = ["rule", "jobs", "cpu_seconds", "seconds", "peak_mib"]
    if not found:
        return pd.DataFrame(columns=columns)
    by_rule = pd.DataFrame(found).groupby("rule")
    costs = by_rule.agg(
        jobs=("s", "size"), cpu_seconds=("cpu_time", "sum"), seconds=("s", "sum"),
        peak_mib=("max_rss", "max"),
    )  # fmt: skip
    return costs.reset_index().sort_values("cpu_seconds", ascending=False)[columns]


def _numbers(file: Path) -> Iterator[dict[str, Any]]:
    """Of a benchmark; what Snakemake could not measure, and writes as "-" or "NA", is NaN."""
    frame = pd.read_csv(file, sep="\t", na_values=["-", "NA"])
    for row in frame.to_dict("records"):
        yield {name: row.get(name, float("nan")) for name in ("s", "cpu_time", "max_rss")}
