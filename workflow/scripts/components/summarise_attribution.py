"""Say of every method of attribution whether it finds what exhaustive patching finds."""

from collections.abc import Sequence
from typing import Any

from zscope.core.jobs import job
from zscope.studies.components.attribution.tables import SCORES, SUMMARY
from zscope.studies.components.attribution.verdicts import FindRule, summary_rows
from zscope.tables.read import read_tables
from zscope.tables.write import write_table


def summarise_attribution(
    scores: Sequence[str], output: str, *, rule: FindRule, provenance: dict[str, Any]
) -> None:
    """scores: the table of each condition."""
    rows = list(summary_rows(read_tables(scores, SCORES), rule))
    write_table(rows, output, SUMMARY, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas") as this:
        summarise_attribution(
            list(this.input.scores),
            this.output.summary,
            rule=FindRule(**this.slice["verdict"]),
            provenance=this.provenance,
        )
