"""Rates and tests of right answers without patching: table crosslingual_accuracy."""

from zscope.core.jobs import job
from zscope.studies.crosslingual.accuracy import answer_rows, training_rows
from zscope.studies.crosslingual.tables import ACCURACY, OUTPUTS, TRAINING
from zscope.tables.read import read_table
from zscope.tables.write import write_table

if __name__ == "__main__":
    with job(snakemake, "numpy", "scipy") as this:
        level = this.slice["level"]
        rows = list(answer_rows(read_table(this.input.outputs, OUTPUTS), level))
        if training := this.input.get("training"):
            rows += training_rows(read_table(training, TRAINING), level)
        of_model = [{"model": this.wildcards.model, **row} for row in rows]
        write_table(of_model, this.output.accuracy, ACCURACY, this.provenance)
