"""Rates and tests of right answers without patching: table crosslingual_accuracy."""

from zscope.core.jobs import Provenance, job
from zscope.studies.crosslingual.accuracy import answer_rows, training_rows
from zscope.studies.crosslingual.tables import ACCURACY, OUTPUTS, TRAINING
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def summarise_accuracy(
    outputs: str,
    training: str | None,
    accuracy: str,
    *,
    model: str,
    level: float,
    provenance: Provenance,
) -> None:
    """training: of a model that was trained here."""
    rows = list(answer_rows(read_table(outputs, OUTPUTS), level))
    if training:
        rows += training_rows(read_table(training, TRAINING), level)
    write_table([{"model": model, **row} for row in rows], accuracy, ACCURACY, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "scipy") as this:
        summarise_accuracy(
            this.input.outputs,
            this.input.get("training"),
            this.output.accuracy,
            model=this.wildcards.model,
            level=this.slice["level"],
            provenance=this.provenance,
        )
