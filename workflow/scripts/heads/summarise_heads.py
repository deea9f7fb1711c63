"""The verdicts of all subjects in one table."""

from collections.abc import Sequence
from typing import Any

from zscope.core.jobs import job
from zscope.studies.heads.tables import SUMMARY, VERDICTS
from zscope.tables.read import read_tables
from zscope.tables.write import write_csv, write_table


def summarise_heads(
    verdicts: Sequence[str], output: str, csv: str, provenance: dict[str, Any]
) -> None:
    """verdicts: the table of each subject."""
    rows = read_tables(verdicts, VERDICTS)
    write_table(rows, output, SUMMARY, provenance)
    write_csv(rows, csv)


if __name__ == "__main__":
    with job(snakemake, "pandas") as this:
        summarise_heads(
            list(this.input.verdicts), this.output.summary, this.output.csv, this.provenance
        )
