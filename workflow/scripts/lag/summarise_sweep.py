"""Gather the tables of a sweep's conditions, and summarise its onsets over runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.studies.lag.onsets import align_onsets, relative_onsets, summarise_onsets
from zscope.studies.lag.tables import ALIGNMENT, CURVES, GATHERED, ONSETS, RUNS, SUMMARY
from zscope.tables.read import read_table, read_tables
from zscope.tables.schema import Table
from zscope.tables.write import write_csv, write_table


def summarise_sweep(
    inputs: Mapping[str, Sequence[str]],
    outputs: Mapping[str, str],
    *,
    sweep: str,
    members: Sequence[Mapping[str, Any]],
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """inputs, outputs: by the name of the table; inputs hold one file per condition."""
    labels = pd.DataFrame(members)
    tables: dict[Table, pd.DataFrame] = {}
    for table, of_condition in GATHERED.items():
        columns = ["run", "label", *(["design"] if table is RUNS else [])]
        # The members keep the order of the config, which is the order of the figures.
        rows = read_tables(inputs[table.short], of_condition)
        tables[table] = labels[columns].merge(rows, on="run").assign(sweep=sweep)
    tables[ONSETS] = onsets = relative_onsets(tables[ONSETS])
    tables[SUMMARY] = pd.DataFrame(summarise_onsets(onsets, tables[CURVES], bootstrap))
    tables[ALIGNMENT] = pd.DataFrame(align_onsets(onsets, bootstrap.level))
    for table, rows in tables.items():
        write_table(rows.assign(sweep=sweep), outputs[table.short], table, provenance)
    write_csv(read_table(outputs["summary"], SUMMARY), outputs["csv"])


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas") as this:
        summarise_sweep(
            dict(this.input.items()),
            dict(this.output.items()),
            sweep=this.wildcards.sweep,
            members=this.slice["members"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
