"""Put what every method found against its truth into one table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from zscope.core.jobs import job
from zscope.studies.components.summary import summary_rows
from zscope.studies.components.tables import SUMMARY, SUMMED
from zscope.tables.read import read_tables
from zscope.tables.write import write_csv, write_table


def summarise_components(
    files: Mapping[str, Sequence[str]],
    output: str,
    csv: str,
    provenance: Mapping[str, Any],
) -> None:
    """files: of the verdict table of each part, by its short name; a part may have none."""
    tables = [
        read_tables(files[table.short], table)
        if files[table.short]
        else pd.DataFrame(columns=[column.name for column in table.columns])
        for table in SUMMED
    ]
    rows = pd.DataFrame(summary_rows(*tables), columns=[c.name for c in SUMMARY.columns])
    write_table(rows, output, SUMMARY, provenance)
    write_csv(rows, csv)


if __name__ == "__main__":
    with job(snakemake, "pandas") as this:
        found = {table.short: getattr(this.input, table.short) for table in SUMMED}
        summarise_components(
            {name: [of] if isinstance(of, str) else list(of) for name, of in found.items()},
            this.output.summary,
            this.output.csv,
            this.provenance,
        )
