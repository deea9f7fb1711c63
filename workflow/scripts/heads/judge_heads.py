"""Say of every detector of a subject whether it names heads, and whether these are needed."""

from typing import Any

from zscope.core.jobs import job
from zscope.studies.heads.tables import ABLATIONS, DETECTORS, SCORES, VERDICTS
from zscope.studies.heads.verdicts import verdict_rows
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def judge_heads(
    scores: str,
    detectors: str,
    ablations: str,
    output: str,
    *,
    draws: int,
    alpha: float,
    provenance: dict[str, Any],
) -> None:
    """scores, detectors, ablations: tables of the subject."""
    rows = verdict_rows(
        read_table(scores, SCORES),
        read_table(detectors, DETECTORS),
        read_table(ablations, ABLATIONS),
        draws=draws,
        alpha=alpha,
    )
    write_table(rows, output, VERDICTS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas", "scipy") as this:
        judge_heads(
            this.input.scores,
            this.input.detectors,
            this.input.ablations,
            this.output.verdicts,
            draws=this.slice["draws"],
            alpha=this.slice["alpha"],
            provenance=this.provenance,
        )
