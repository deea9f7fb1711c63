"""Say of every detector and subject whether it names heads, and whether these are needed."""

from collections.abc import Sequence
from typing import Any

from zscope.core.jobs import job
from zscope.studies.heads.tables import ABLATIONS, DETECTORS, SCORES, VERDICTS
from zscope.studies.heads.verdicts import verdict_rows
from zscope.tables.read import read_table, read_tables
from zscope.tables.write import write_csv, write_table


def summarise_heads(
    scores: Sequence[str],
    detectors: Sequence[str],
    ablations: Sequence[str],
    output: str,
    csv: str,
    *,
    draws: int,
    alpha: float,
    provenance: dict[str, Any],
) -> None:
    """scores, detectors, ablations: a file of each subject."""
    rows = verdict_rows(
        read_tables(scores, SCORES),
        read_tables(detectors, DETECTORS),
        read_tables(ablations, ABLATIONS),
        draws=draws,
        alpha=alpha,
    )
    write_table(rows, output, VERDICTS, provenance)
    write_csv(read_table(output, VERDICTS), csv)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas", "scipy") as this:
        summarise_heads(
            this.input.scores,
            this.input.detectors,
            this.input.ablations,
            this.output.verdicts,
            this.output.csv,
            draws=this.slice["draws"],
            alpha=this.slice["alpha"],
            provenance=this.provenance,
        )
