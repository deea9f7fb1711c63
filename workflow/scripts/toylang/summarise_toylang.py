"""Find the onsets, their medians and comparisons over seeds, and test the claims of the study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.studies.toylang.claims import summary_rows
from zscope.studies.toylang.config import ToylangConfig
from zscope.studies.toylang.onsets import compare, run_onsets, summarise
from zscope.studies.toylang.tables import (
    COMPARISONS,
    OF_RUNS,
    ONSET_SUMMARY,
    ONSETS,
    READOUTS,
    REFERENCE,
    SUMMARIES,
    SUMMARY,
    TRAINING,
)
from zscope.tables.read import read_table, read_tables
from zscope.tables.schema import Row, Table
from zscope.tables.write import write_csv, write_table


def summarise_toylang(
    inputs: Mapping[Table, Sequence[Path]],
    outputs: Mapping[Table, Path],
    csv: Path,
    *,
    config: ToylangConfig,
    comparisons: Mapping[str, Sequence[str]],
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    """inputs: the files of all runs or conditions; there may be none. comparisons: how each
    condition differs from the reference, and what was changed."""
    tables = {table: read_tables(paths, table) for table, paths in inputs.items()}

    def write(table: Table, rows: list[Row]) -> pd.DataFrame:
        write_table(rows, outputs[table], table, provenance)
        tables[table] = read_table(outputs[table], table)
        return tables[table]

    onsets = write(ONSETS, run_onsets(tables[TRAINING], tables[READOUTS], config.onset))
    write(ONSET_SUMMARY, summarise(onsets, bootstrap))
    write(COMPARISONS, compare(onsets, comparisons, REFERENCE, bootstrap))
    write_csv(write(SUMMARY, summary_rows(tables, config)), csv)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas", "scipy") as this:
        summarise_toylang(
            {table: this.input.get(table.short, []) for table in OF_RUNS},
            {table: this.output[table.short] for table in SUMMARIES},
            this.output.csv,
            config=ToylangConfig.model_validate(this.slice["toylang"]),
            comparisons=this.slice["comparisons"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
